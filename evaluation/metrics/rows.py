"""Rows of embeddings and their labels, checked; rows scaled to unit norm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError


def unit_rows(features: NDArray[np.floating], what: str = "rows") -> NDArray[np.float64]:
    """Return ``(N, D)`` features as float64 rows of unit norm.

    Args:
        features: ``(N, D)`` float.
        what: what errors call the rows.

    Raises:
        EvaluationError: an array that is not a matrix, or a row that is zero or not finite.
    """
    if features.ndim != 2:
        raise EvaluationError(f"{what} must be a matrix of one embedding per row, got shape {features.shape}")
    wide = features.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))
    if len(bad):
        raise EvaluationError(f"{what} must be finite and not zero, got {len(bad)} that are not, first: row {bad[0]}")
    return np.asarray(wide / norms)


def check_labels(features: NDArray[np.floating], labels: NDArray[np.int64], num_classes: int) -> None:
    """Refuse training rows that cannot be learnt from.

    Raises:
        EvaluationError: no rows, another number of labels, or a label outside 0 .. num_classes - 1.
    """
    if len(features) == 0:
        raise EvaluationError("a classifier needs training rows, got none")
    if labels.shape != (len(features),):
        raise EvaluationError(f"one label per training row needed, got {labels.shape} for {len(features)} rows")
    if not (labels.min() >= 0 and labels.max() < num_classes):
        raise EvaluationError(f"labels must lie in 0 .. {num_classes - 1}, got {labels.min()} .. {labels.max()}")
