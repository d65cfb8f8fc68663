"""Between Pillow's pictures and tensors of pixels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

Box = tuple[int, int, int, int]
"""Top, left, height, width."""


def resize_image(image: Image.Image, size: tuple[int, int], mode: InterpolationMode, box: Box | None = None) -> Tensor:
    """Resize a picture as torchvision resizes tensors of uint8, with antialiasing.

    Faster than from a copy with the channels first (`benchmarks/input.py`): Pillow's own memory is read in place, and
    its order, channels last, is the one that torch has a vectorised kernel for.

    Args:
        image: of mode ``RGB`` or ``L``; left as it is.
        size: height and width to come out.
        mode: the interpolation.
        box: the part of the picture to resize; None for all of it.

    Returns:
        ``(3, height, width)`` uint8, or ``(1, height, width)`` of a grey picture, in memory of its own.
    """
    pixels = _shared_pixels(image)
    if box is not None:
        top, left, height, width = box
        pixels = pixels[:, top : top + height, left : left + width]
    num_channels = len(image.getbands())
    if pixels.shape[1:] == size:
        return pixels[:num_channels].clone(memory_format=torch.contiguous_format)
    resized: Tensor = F.resize_image(pixels, list(size), mode, antialias=True)
    return resized[:num_channels]


def to_tensor(image: Image.Image) -> Tensor:
    """Return the pixels of mode ``RGB`` or ``L`` as ``(3 or 1, H, W)`` uint8, copied."""
    pixels = np.asarray(image)
    # Copied while it is numpy's, which does it in half the time of torch.
    return torch.from_numpy(pixels[None].copy() if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def _shared_pixels(image: Image.Image) -> Tensor:
    """Return the memory of a picture: ``(4, H, W)`` uint8 of mode ``RGB``, whose fourth channel means nothing, or
    ``(1, H, W)`` of mode ``L``. A picture in several pieces, as large ones are, is copied into ``(3 or 1, H, W)``."""
    try:
        array = pa.array(image)
        pixels = torch.utils.dlpack.from_dlpack(array if image.mode == "L" else array.flatten())
    except (TypeError, ValueError):  # Pillow before 11.2, which has no such array; several pieces
        pixels = torch.from_numpy(np.array(image))
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1)
