"""Raw pictures and strings that tell one preprocessing from another."""

from __future__ import annotations

import numpy as np
from PIL import Image

TEXTS = [
    "a photo of a cat",
    "Two BLACK knights, one white arrow: 12.5%!",
    "the quick brown fox jumps over the lazy dog, " * 4,
    "Ünïcödé 中文 🙂",
    "a  photo\nof a cat!?!",
    "",
]
"""Short and cut, with capitals, punctuation, runs of blanks, letters outside of every vocabulary, and none at all."""


def pictures() -> list[Image.Image]:
    """Return RGB pictures, noisy and smooth, that are wide, tall, square, smaller and larger than any input here."""
    random = np.random.default_rng(0)
    sizes = ((37, 61), (53, 40), (20, 27), (32, 32))
    noisy = [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]
    rows, columns = np.mgrid[0:131, 0:99]
    smooth = np.stack([rows * 1.5, columns * 2, (rows * columns) / 64 % 256], axis=-1).astype(np.uint8)
    return [Image.fromarray(pixels) for pixels in [*noisy, smooth, smooth.transpose(1, 0, 2)[::-1].copy()]]
