"""Several labels per example: average precision of each class, and the labels an example is given first.

Of equal scores none comes before the other: a cut takes all of them or none, as scikit-learn has it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.pair_classification import average_precision


def mean_average_precision(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> float:
    """Return the mean average precision, in [0, 1], over the classes that some example has.

    Args:
        scores: ``(N, K)`` float, higher where a label fits.
        targets: ``(N, K)`` whether the example has it.

    Raises:
        EvaluationError: arrays that do not fit or are not finite, or no example with any label.
    """
    found = average_precisions(scores, targets)[0]
    if np.isnan(found).all():
        raise EvaluationError("mean average precision needs an example with a label, got none")
    return float(np.nanmean(found))


def average_precisions(
    scores: NDArray[np.floating], targets: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the ``(R, K)`` float64 average precision of every class, NaN where no example that has it was drawn.

    Args:
        scores: ``(N, K)`` float.
        targets: ``(N, K)`` bool.
        weights: ``(R, N)`` how often each example was drawn; None counts each once, and R is 1.

    Raises:
        EvaluationError: arrays that do not fit or are not finite.
    """
    if scores.shape != targets.shape or scores.ndim != 2 or len(scores) == 0:
        raise EvaluationError(f"scores and targets must be two (N, K) matrices, got {scores.shape}, {targets.shape}")
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise EvaluationError(f"scores must be finite, got NaN or infinity in row {bad[0]}")
    columns = range(scores.shape[1])
    return np.column_stack([average_precision(scores[:, one], targets[:, one], weights) for one in columns])


def expected_average_precision(num_positive: NDArray[np.int64], num_examples: int) -> NDArray[np.float64]:
    """Return the ``(K,)`` average precision that random order is expected to reach, of classes of P examples of N.

    ``((P - 1) / (N - 1) * (N - H) + H) / N`` with H = 1 + 1/2 + ... + 1/N: the precision at a positive of rank r is
    1/r for itself and (P - 1)/(N - 1) for each of the r - 1 before it.
    """
    if num_examples == 1:
        return np.ones(len(num_positive))
    harmonic = float((1 / np.arange(1, num_examples + 1)).sum())
    others = (num_positive - 1) / (num_examples - 1)
    return np.asarray((others * (num_examples - harmonic) + harmonic) / num_examples)


def top_k_labels(scores: NDArray[np.floating], k: int) -> NDArray[np.bool_]:
    """Return ``(N, K)`` bool, true for the k classes of highest score of each example; of equal ones the first."""
    chosen = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    given = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(given, chosen, True, axis=1)
    return given
