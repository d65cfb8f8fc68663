"""The embedded data set ``digits``: scikit-learn's handwritten digits, drawn as the pictures of ``glyphs`` are.

1,797 digits written by hand, 8 by 8 pixels of 17 grey levels: pictures from elsewhere, to judge a model by that was
trained on printed characters. Three quarters of every class are the split ``train`` and the rest ``test``, to train and
to judge on digits alone.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits as load_scanned_digits

from mmcl.data.glyph_drawing import SIDE
from mmcl.errors import UserError, did_you_mean

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The labels, by digit."""

SPLITS = ("train", "test")
"""1,347 and 450 rows; together they are all."""

_TEST_SHARE = 0.25
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


def load_digits(split: str | None = None) -> datasets.Dataset:
    """Return the 1,797 handwritten digits, in scikit-learn's order, or one split of them.

    Args:
        split: ``train``: three quarters of each class; ``test``: the rest. Chosen by hash, for good. None gives all.

    Returns:
        Rows of ``image`` (8-bit grey, 48 px square, black on white), ``text`` (as in "digit three"), ``label`` ("zero"
        to "nine") and ``group`` (the label, as two drawings of one digit have the same caption). Made in memory, in a
        fraction of a second.

    Raises:
        UserError: there is no such split.
    """
    if split is not None and split not in SPLITS:
        raise UserError(f'no split "{split}" in digits ({", ".join(SPLITS)}).{did_you_mean(split, SPLITS)}')
    scanned = load_scanned_digits()
    chosen = np.ones(len(scanned.target), dtype=bool)
    if split is not None:
        chosen = _is_test(scanned.target) == (split == "test")
    return datasets.Dataset.from_list(
        [_row(scanned.images[place], NAMES[scanned.target[place]]) for place in np.flatnonzero(chosen)],
        features=_FEATURES,
    )


def _is_test(digits: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows are the split ``test``: a quarter of each class, those of the lowest SHA-256 of their place."""
    chosen = np.zeros(len(digits), dtype=bool)
    for digit in range(len(NAMES)):
        places = np.flatnonzero(digits == digit).tolist()
        places.sort(key=lambda place: hashlib.sha256(f"digit {place}".encode()).digest())
        chosen[places[: round(_TEST_SHARE * len(places))]] = True
    return chosen


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
