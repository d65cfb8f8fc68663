from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcl.data.images import UnreadableImage, decode_image
from tests.data.builders import encoded, picture


def _pixels(value: object) -> np.ndarray:
    image = decode_image(value)
    assert image.mode == "RGB"
    return np.asarray(image)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + chunk + data


def test_every_kind_of_value_gives_the_same_picture(tmp_path: Path) -> None:
    image = picture()
    data = encoded(image)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    expected = np.asarray(image)
    values = [data, path, str(path), {"bytes": data, "path": None}, {"bytes": None, "path": str(path)}, image, expected]
    for value in [*values, {"bytes": data, "path": "gone.png"}, bytearray(data), memoryview(data)]:
        np.testing.assert_array_equal(_pixels(value), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    image = picture(size=(6, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.asarray(image)
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }
    np.testing.assert_array_equal(_pixels(encoded(image, exif=exif)), turned[orientation])


def test_alpha_is_laid_on_white() -> None:
    rgba = np.array([[[0, 0, 0, 0], [200, 0, 0, 255], [0, 0, 0, 128]]], dtype=np.uint8)
    expected = [[[255, 255, 255], [200, 0, 0], [127, 127, 127]]]
    assert _pixels(encoded(Image.fromarray(rgba))).tolist() == expected
    assert _pixels(rgba).tolist() == expected
    grey_alpha = Image.merge("LA", (Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 0)))
    assert _pixels(encoded(grey_alpha)).tolist() == [[[255, 255, 255]]]


def test_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert _pixels(encoded(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert _pixels(encoded(image, transparency=0)).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    assert _pixels(encoded(image, transparency=b"\x00\xff")).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_transparent_colour_is_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    assert _pixels(encoded(image, transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_cmyk_is_converted() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    np.testing.assert_allclose(_pixels(encoded(image, "TIFF"))[0, 0], [255, 0, 0])
    np.testing.assert_allclose(_pixels(encoded(image, "JPEG"))[0, 0], [255, 0, 0], atol=3)


def test_sixteen_bit_grey_is_divided_by_257() -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    expected = [0, 0, 1, 1, 128, 255]
    for value in (encoded(Image.fromarray(values)), encoded(Image.fromarray(values), "TIFF"), values):
        np.testing.assert_array_equal(_pixels(value)[0], np.repeat(np.array(expected)[:, None], 3, axis=1))


def test_wide_integers_are_read_within_sixteen_bits_only() -> None:
    image = Image.fromarray(np.array([[0, 65535]], dtype=np.int32))
    assert _pixels(encoded(image, "TIFF"))[0, :, 0].tolist() == [0, 255]
    with pytest.raises(UnreadableImage, match="from 0 to 70000"):
        decode_image(Image.fromarray(np.array([[0, 70_000]], dtype=np.int32)))


def test_one_bit_is_black_and_white() -> None:
    image = Image.new("1", (2, 1), 0)
    image.putpixel((1, 0), 1)
    assert _pixels(encoded(image))[0, :, 0].tolist() == [0, 255]
    assert _pixels(np.array([[False, True]]))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_animation_gives_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], lossless=True)
    assert _pixels(data)[0, 0].tolist() == [255, 0, 0]


def test_grey_stays_grey_on_request_unless_it_is_transparent() -> None:
    grey = Image.new("L", (2, 2), 7)
    assert decode_image(encoded(grey), keep_grey=True).mode == "L"
    assert decode_image(encoded(grey)).mode == "RGB"
    assert decode_image(encoded(grey, transparency=7), keep_grey=True).getpixel((0, 0)) == (255, 255, 255)
    assert decode_image(encoded(picture()), keep_grey=True).mode == "RGB"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_truncated_file_is_unreadable(file_format: str) -> None:
    data = encoded(picture(size=(64, 64)), file_format)
    with pytest.raises(UnreadableImage):
        decode_image(data[: len(data) // 2])


def test_picture_of_400_million_pixels_is_refused_from_its_header() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(UnreadableImage, match="20,000 x 20,000 is 400,000,000 pixels, at most 178,956,970"):
            decode_image(_png_header(20_000, 20_000))
    assert caught == []


def test_real_picture_of_400_million_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.bmp"
    header = struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 24, 0, 1_200_000_000, 0, 0, 0, 0)
    with path.open("wb") as file:  # sparse: a whole file of which the zeros take no room on the disk
        file.write(b"BM" + struct.pack("<IHHI", 54 + 1_200_000_000, 0, 0, 54) + header)
        file.truncate(54 + 1_200_000_000)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage, match="too large"):
        decode_image(path)


def test_own_limit_counts_and_pillows_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # pytest turns Pillow's warning into an error
    data = encoded(picture(size=(12, 10)))
    assert decode_image(data, max_pixels=120).size == (12, 10)
    with pytest.raises(UnreadableImage, match="at most 119 are allowed"):
        decode_image(data, max_pixels=119)
    with pytest.raises(UnreadableImage, match="at most 119 are allowed"):
        decode_image(picture(size=(12, 10)), max_pixels=119)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "an empty file"),
        (b"caption,image\n1,2\n", "not a picture of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture of a known format"),
        (None, "missing"),
        ({"bytes": None, "path": None}, "missing"),
        (7, "type int is not a picture"),
        ("https://example.org/a.png", "address on the network"),
        (np.zeros((4, 4, 3), dtype=np.float32), r"shape \(4, 4, 3\) and type float32"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"shape \(0, 4, 3\)"),
        (Image.new("F", (2, 2)), "mode F"),
    ],
)
def test_reason_is_given(value: object, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode_image(value)


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "shirt.png").write_bytes(encoded(picture()))
    with pytest.raises(UnreadableImage, match=r'no such file: .*shrit.png \(Did you mean "shirt.png"\?\)$'):
        decode_image(tmp_path / "shrit.png")
    with pytest.raises(UnreadableImage, match="cannot open"):
        decode_image(tmp_path)


def test_damaged_pictures_raise_nothing_else() -> None:
    random = np.random.default_rng(0)
    for file_format in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        data = np.frombuffer(encoded(picture(), file_format), dtype=np.uint8)
        for _ in range(60):
            damaged = data.copy()
            damaged[random.integers(0, len(data), 4)] = random.integers(0, 256, 4)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Pillow's, about metadata
                with suppress(UnreadableImage):
                    decode_image(damaged.tobytes(), max_pixels=10_000)


def test_threads_give_the_same_pixels() -> None:
    data = [encoded(picture(seed), file_format) for seed in range(8) for file_format in ("PNG", "GIF", "TIFF")]
    alone = [_pixels(value).tobytes() for value in data]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda value: _pixels(value).tobytes(), data * 4))
    assert together == alone * 4


def test_truncated_pillow_image_is_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="truncated"):
        decode_image(Image.open(io.BytesIO(encoded(picture(size=(64, 64)), "JPEG")[:900])))


def test_callers_picture_is_not_changed() -> None:
    image = Image.open(io.BytesIO(encoded(Image.new("L", (3, 3), 9))))
    assert decode_image(image).getpixel((0, 0)) == (9, 9, 9)
    assert image.mode == "L"


@pytest.mark.parametrize("size", [(1, 201), (20_000, 1)])
def test_a_line_is_refused_from_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(UnreadableImage, match=rf"too narrow: {size[0]:,} x {size[1]:,}; .* at most 200 times"):
        decode_image(_png_header(*size))
    with pytest.raises(UnreadableImage, match="too narrow"):
        decode_image(Image.new("RGB", size))


def test_a_picture_of_one_to_two_hundred_is_read() -> None:
    assert decode_image(Image.new("RGB", (2, 400))).size == (2, 400)
