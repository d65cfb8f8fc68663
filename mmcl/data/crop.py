"""Where a random resized crop lies."""

from __future__ import annotations

import math

import torch

from mmcl.towers.pixels import Box

NUM_TRIES = 10
RATIOS = (3 / 4, 4 / 3)
"""Smallest and largest width over height."""
_LOG_RATIOS = torch.log(torch.tensor(RATIOS)).tolist()


def draw_crop(height: int, width: int, areas: tuple[float, float]) -> Box:
    """Draw what torchvision's `RandomResizedCrop` would draw of torch's CPU generator, number for number.

    With less around each number, as crops of nearly the whole picture are drawn several times before one fits.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        areas: smallest and largest area of the crop, as fractions of the picture.
    """
    drawn = torch.empty(1)
    for _ in range(NUM_TRIES):
        area = height * width * drawn.uniform_(*areas).item()
        ratio = drawn.uniform_(*_LOG_RATIOS).exp_().item()
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(torch.randint(height - crop_height + 1, (1,)))
            return top, int(torch.randint(width - crop_width + 1, (1,))), crop_height, crop_width
    return _centre(height, width)


def _centre(height: int, width: int) -> Box:
    """Return the largest crop in the middle whose ratio is allowed."""
    crop_height, crop_width = height, width
    if width / height < RATIOS[0]:
        crop_height = round(width / RATIOS[0])
    elif width / height > RATIOS[1]:
        crop_width = round(height * RATIOS[1])
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
