"""Weighted k-nearest-neighbour classification of embeddings, blockwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.rows import check_labels, unit_rows
from evaluation.metrics.similarity import MAX_ELEMENTS, similarity_strips

NUM_NEIGHBOURS = 20
TEMPERATURE = 0.07


def knn_predictions(
    train: NDArray[np.floating],
    train_labels: NDArray[np.int64],
    test: NDArray[np.floating],
    num_classes: int,
    *,
    k: int = NUM_NEIGHBOURS,
    temperature: float = TEMPERATURE,
    max_elements: int = MAX_ELEMENTS,
) -> NDArray[np.int64]:
    """Return the ``(M,)`` int64 class of each test row by the votes of its nearest training rows.

    The k training rows of highest cosine vote for their class with weight ``exp(cos / temperature)``, as in instance
    discrimination (arXiv:1805.01978, section 3.4). Of equal cosines the earlier training row is nearer, of equal votes
    the lower class wins, so that equal inputs give equal answers.

    Args:
        train: ``(N, D)`` float; normalised here.
        train_labels: ``(N,)`` int64 in 0 .. num_classes - 1.
        test: ``(M, D)`` float; normalised here.
        num_classes: K.
        k: neighbours that vote, clamped to N.
        temperature: of the votes, above 0.
        max_elements: cosines held at once; the result does not depend on it.

    Raises:
        EvaluationError: no training rows, labels that do not fit, a k or temperature that is not positive, or rows that
            are zero or not finite.
    """
    if k < 1:
        raise EvaluationError(f"k must be >= 1, got {k}")
    if not temperature > 0:
        raise EvaluationError(f"temperature must be > 0, got {temperature}")
    check_labels(train, train_labels, num_classes)
    k = min(k, len(train))
    predictions = np.empty(len(test), dtype=np.int64)
    strips = similarity_strips(unit_rows(test, "test rows"), unit_rows(train, "training rows"), max_elements)
    for rows, cosines in strips:
        nearest = _k_highest(cosines, k)
        near = np.take_along_axis(cosines, nearest, axis=1).astype(np.float64)
        # A factor common to all votes of a row changes no order, and without it a low temperature would overflow.
        weights = np.exp((near - near.max(axis=1, keepdims=True)) / temperature)
        votes = np.arange(len(near))[:, None] * num_classes + train_labels[nearest]
        totals = np.bincount(votes.ravel(), weights.ravel(), minlength=len(near) * num_classes)
        predictions[rows] = totals.reshape(len(near), num_classes).argmax(axis=1)
    return predictions


def _k_highest(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The ``(rows, k)`` columns of each row's k highest scores; of equal ones the first."""
    kth = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k, None]
    above, equal = scores > kth, scores == kth
    missing = k - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= missing))
    return np.nonzero(chosen)[1].reshape(len(scores), k)
