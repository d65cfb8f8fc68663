"""Scores: how alike the two texts of a row are, as somebody has graded them."""

from __future__ import annotations

import math
from typing import Any

NO_SCORE = "the score is missing"


def score_of(value: Any) -> float:
    """Return the score in a cell: a finite number, or the text of one.

    Raises:
        ValueError: there is none; the message is the reason.
    """
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        raise ValueError(NO_SCORE)
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"the score is {value!r}, which is no number")
    return score
