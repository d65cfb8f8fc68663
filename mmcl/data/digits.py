"""The embedded data set ``digits``: scikit-learn's handwritten digits, drawn as the pictures of ``glyphs`` are.

1,797 digits written by hand, 8 by 8 pixels of 17 grey levels: pictures from elsewhere, to judge a model by that was
trained on printed characters.
"""

from __future__ import annotations

import io
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits as load_scanned_digits

from mmcl.data.glyph_drawing import SIDE

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The labels, by digit."""

_DARKEST = 16
_HEIGHT = SIDE * 5 // 8  # about the height of a printed digit in `glyphs`
_BASE_LINE = SIDE * 19 // 24

_FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "label": datasets.Value("string"),
        "group": datasets.Value("string"),
    }
)


def load_digits() -> datasets.Dataset:
    """Return the 1,797 handwritten digits, in scikit-learn's order.

    Returns:
        Rows of ``image`` (8-bit grey, 48 px square, black on white), ``text`` (as in "digit three"), ``label`` ("zero"
        to "nine") and ``group`` (the label, as two drawings of one digit have the same caption). Made in memory, in a
        fraction of a second.
    """
    scanned = load_scanned_digits()
    return datasets.Dataset.from_list(
        [_row(picture, NAMES[digit]) for picture, digit in zip(scanned.images, scanned.target, strict=True)],
        features=_FEATURES,
    )


def _row(picture: NDArray[np.float64], label: str) -> dict[str, Any]:
    stream = io.BytesIO()
    draw_digit(picture).save(stream, "PNG")
    return {
        "image": {"bytes": stream.getvalue(), "path": None},
        "text": f"digit {label}",
        "label": label,
        "group": label,
    }


def draw_digit(picture: NDArray[np.float64]) -> Image.Image:
    """Return an 8 by 8 scan (0 paper to 16 ink), enlarged, where a printed digit would stand on the square of a glyph.

    The picture is of mode ``L``, `SIDE` pixels square, black on white.
    """
    paper = Image.fromarray((255 - picture * (255 / _DARKEST)).round().astype(np.uint8))
    enlarged = paper.resize((_HEIGHT, _HEIGHT), Image.Resampling.BICUBIC)
    square = Image.new("L", (SIDE, SIDE), 255)
    square.paste(enlarged, ((SIDE - _HEIGHT) // 2, _BASE_LINE - _HEIGHT))
    return square
