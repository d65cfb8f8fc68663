"""Pictures as they come: turned, transparent, of few colours or many bits, animated, thin, and some that are rotten."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from tests.data.builders import encoded

_ORIENTATION = 0x0112
_ADOBE = b"Adobe"


def smooth(width: int = 60, height: int = 44) -> Image.Image:
    """A picture that is unlike itself turned or mirrored, and that JPEG keeps well."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [columns * 255 // max(width - 1, 1), rows * 255 // max(height - 1, 1), (rows + 2 * columns) % 256]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def _turned(orientation: int, image: Image.Image, file_format: str) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return encoded(image, file_format, exif=exif)


def _without_adobe(jpeg: bytes) -> bytes:
    """Cut the segment that says that CMYK is stored inverted, which Pillow takes for granted."""
    start = jpeg.index(_ADOBE) - 4
    return jpeg[:start] + jpeg[start + 2 + struct.unpack(">H", jpeg[start + 2 : start + 4])[0] :]


def _ycck(image: Image.Image) -> bytes:
    """A CMYK JPEG whose first three channels are the inks' YCC, as Photoshop writes it and Pillow does not."""
    *inks, black = image.convert("CMYK").split()
    ycc = Image.merge("RGB", inks).convert("YCbCr").split()
    # Pillow stores CMYK inverted, which YCC must not be.
    stored = Image.merge("CMYK", (*(channel.point(lambda value: 255 - value) for channel in ycc), black))
    jpeg = encoded(stored, "JPEG", quality=95)
    place = jpeg.index(_ADOBE) + 11
    return jpeg[:place] + b"\x02" + jpeg[place + 1 :]


def _faded(image: Image.Image) -> Image.Image:
    """The picture with an alpha channel from clear to opaque."""
    width, height = image.size
    alpha = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width))
    image = image.copy()
    image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return image


def _deep_grey(width: int = 60, height: int = 44) -> Image.Image:
    return Image.fromarray(np.linspace(0, 65_535, width * height).astype(np.uint16).reshape(height, width))


def _deep_colour_png(width: int = 60, height: int = 44) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads and does not write."""
    pixels = np.random.default_rng(0).integers(0, 65_536, (height, width * 3), dtype=np.uint16).astype(">u2")
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _frames(file_format: str, **options: object) -> bytes:
    first = smooth()
    others = [first.transpose(Image.Transpose.FLIP_LEFT_RIGHT), Image.new("RGB", first.size, "red")]
    return encoded(first, file_format, save_all=True, append_images=others, **options)


def pictures() -> dict[str, bytes]:
    """Return files by a name that says what is awkward about them."""
    image, grey = smooth(), smooth().convert("L")
    palette, cmyk = image.quantize(16), encoded(image.convert("CMYK"), "JPEG", quality=95)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        **{f"turned-{number}.jpg": _turned(number, image, "JPEG") for number in range(2, 9)},
        "turned-grey-6.jpg": _turned(6, grey, "JPEG"),
        "turned-8.png": _turned(8, image, "PNG"),
        "turned-6.webp": _turned(6, image, "WEBP"),
        "cmyk-adobe-inverted.jpg": cmyk,
        "cmyk.jpg": _without_adobe(cmyk),
        "ycck.jpg": _ycck(image),
        "cmyk.tif": encoded(image.convert("CMYK"), "TIFF"),
        "palette.png": encoded(palette),
        "palette-clear-entry.png": encoded(palette, transparency=3),
        "palette-faded-entries.png": encoded(palette, transparency=bytes(range(0, 256, 16))),
        "palette-clear-entry.gif": encoded(palette, "GIF", transparency=3),
        "grey-alpha.png": encoded(_faded(grey)),
        "rgba.png": encoded(_faded(image)),
        "rgba.webp": encoded(_faded(image), "WEBP", lossless=True),
        "clear-colour.png": encoded(image, transparency=image.getpixel((5, 5))),
        "grey-clear-value.png": encoded(grey, transparency=100),
        "deep-grey.png": encoded(_deep_grey()),
        "deep-grey.tif": encoded(_deep_grey(), "TIFF"),
        "deep-colour.png": _deep_colour_png(),
        "one-bit.png": encoded(grey.convert("1")),
        "grey.png": encoded(grey),
        "grey.jpg": encoded(grey, "JPEG"),
        "animated.gif": _frames("GIF"),
        "animated.webp": _frames("WEBP", lossless=True),
        "animated.png": _frames("PNG"),
        "pages.tif": _frames("TIFF"),
        "one-wide.png": encoded(smooth(1, 44)),
        "one-high.png": encoded(smooth(60, 1)),
        "one-pixel.png": encoded(smooth(1, 1)),
        "ribbon.png": encoded(smooth(800, 4)),
        "grey-tower.png": encoded(smooth(3, 500).convert("L")),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "profile.jpg": encoded(image, "JPEG", icc_profile=profile),
        "lzw.tif": encoded(image, "TIFF", compression="tiff_lzw"),
        "plain.bmp": encoded(image, "BMP"),
        "trailing-bytes.jpg": encoded(image, "JPEG") + b"\x00\xffMotionPhoto" * 20,
        "a-png-named.jpg": encoded(image),
    }


def rotten() -> dict[str, tuple[bytes, str]]:
    """Return files that cannot be used, each with what its reason says."""
    jpeg, png = encoded(smooth(), "JPEG"), encoded(smooth())
    huge = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "(?i)truncated"),
        "truncated.png": (png[: len(png) // 2], "truncated|broken|damaged"),
        "header-only.jpg": (jpeg[:20], "truncated|damaged|not a picture"),
        "empty.jpg": (b"", "an empty file"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "not a picture of a known format; it starts with b'<!DOCTYPE"),
        "bomb.png": (
            b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", huge) + _chunk(b"IDAT", zlib.compress(b"\x00" * 1000)),
            "too large: 30,000 x 30,000",
        ),
        "thread.png": (encoded(Image.new("L", (201, 1))), "too narrow: 201 x 1"),
        "floats.tif": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "mode F"),
    }


def opened(data: bytes) -> Image.Image:
    """What Pillow alone makes of a file."""
    return Image.open(io.BytesIO(data))
