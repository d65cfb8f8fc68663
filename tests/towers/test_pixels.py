"""Resizing in Pillow's own memory gives torchvision's pixels and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mmcl.towers import pixels
from mmcl.towers.pixels import Box, resize_image, to_tensor

BICUBIC = InterpolationMode.BICUBIC


def _picture(mode: str, width: int = 61, height: int = 47) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def _torchvision(image: Image.Image, size: tuple[int, int], mode: InterpolationMode, box: Box) -> torch.Tensor:
    cut = F.crop(F.pil_to_tensor(image).contiguous(), *box)
    resized: torch.Tensor = F.resize(cut, list(size), mode, antialias=True)
    return resized


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", [BICUBIC, InterpolationMode.BILINEAR, InterpolationMode.NEAREST_EXACT])
@pytest.mark.parametrize("size", [(32, 32), (17, 80), (40, 50)])
def test_pixels_are_torchvisions(mode: str, interpolation: InterpolationMode, size: tuple[int, int]) -> None:
    image = _picture(mode)
    for box in ((0, 0, 47, 61), (3, 5, 40, 50), (46, 60, 1, 1)):
        found = resize_image(image, size, interpolation, box)
        assert torch.equal(found, _torchvision(image, size, interpolation, box))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_in_several_pieces_or_of_a_library_without_arrays_has_the_same_pixels(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    image = _picture(mode)
    expected = resize_image(image, (32, 32), BICUBIC)
    for error in (ValueError, TypeError):

        def refuse(_: object, error: type[Exception] = error) -> None:
            raise error("rows are not contiguous")

        monkeypatch.setattr(pixels.pa, "array", refuse)
        assert torch.equal(resize_image(image, (32, 32), BICUBIC), expected)


def test_pillow_does_keep_large_pictures_in_pieces() -> None:
    image = Image.new("RGB", (4000, 3000), (10, 20, 30))
    with pytest.raises((TypeError, ValueError)):
        pixels.pa.array(image)
    assert resize_image(image, (2, 2), BICUBIC)[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("size", [(47, 61), (20, 20)])
def test_what_comes_out_shares_no_memory_with_the_picture(size: tuple[int, int]) -> None:
    image = _picture("RGB")
    before = np.array(image)
    resize_image(image, size, BICUBIC).zero_()
    assert np.array_equal(np.asarray(image), before)


def test_pixels_outlive_their_picture() -> None:
    found = resize_image(Image.new("RGB", (64, 64), (9, 8, 7)), (64, 64), BICUBIC)
    _ = [Image.new("RGB", (64, 64)) for _ in range(20)]
    assert found[:, 5, 5].tolist() == [9, 8, 7]


def test_to_tensor_puts_channels_first() -> None:
    image = _picture("RGB")
    assert torch.equal(to_tensor(image), F.pil_to_tensor(image))
    assert to_tensor(image.convert("L")).shape == (1, 47, 61)
