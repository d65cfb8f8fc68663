"""Classification metrics from label ranks and confusion matrices.

Where a value is a function of class totals, the class is the last axis and leading axes are kept, so that a bootstrap
computes a thousand resamples in one call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError


@dataclass(frozen=True)
class MacroScores:
    """Means over classes, each a fraction of shape ``(...)``: those of the totals without their last axis."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def top_k_accuracy(ranks: NDArray[np.int64], k: int, num_classes: int) -> float | None:
    """Return the share of examples whose own class is among the ``k`` highest, or None where there are under ``k``.

    Args:
        ranks: ``(N,)`` int64, rank of the true class from 1.
        k: how many classes may be named.
        num_classes: of the classifier; with fewer than ``k`` of them every answer would be right.

    Raises:
        EvaluationError: no examples.
    """
    if len(ranks) == 0:
        raise EvaluationError("accuracy needs at least one example, got none")
    return None if num_classes < k else float((ranks <= k).mean())


def confusion_matrix(labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Return the ``(K, K)`` int64 counts of examples by true class (rows) and predicted class (columns).

    Raises:
        EvaluationError: arrays of different length, or a class outside 0 .. K-1.
    """
    if labels.shape != predictions.shape:
        raise EvaluationError(f"one prediction per label needed, got {len(predictions)} for {len(labels)}")
    for name, values in (("labels", labels), ("predictions", predictions)):
        if len(values) and not (values.min() >= 0 and values.max() < num_classes):
            raise EvaluationError(f"{name} must lie in 0 .. {num_classes - 1}, got {values.min()} .. {values.max()}")
    flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def mean_per_class_recall(correct: NDArray[np.floating], support: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean recall over the classes that have examples (balanced accuracy), a fraction of shape ``(...)``.

    Args:
        correct: ``(..., K)`` rightly predicted examples per class.
        support: ``(..., K)`` examples per class.

    Raises:
        EvaluationError: no examples at all.
    """
    present = support > 0
    if not present.any(axis=-1).all():
        raise EvaluationError("mean per-class recall needs at least one example, got none")
    return np.asarray(_ratio(correct, support).sum(axis=-1) / present.sum(axis=-1))


def macro_scores(
    correct: NDArray[np.floating], support: NDArray[np.floating], predicted: NDArray[np.floating]
) -> MacroScores:
    """Return macro precision, recall and F1: means over the classes that have examples or predictions.

    An undefined quotient counts as 0, as scikit-learn has it with ``zero_division=0``. Recall differs from
    `mean_per_class_recall` where a class is predicted that has no examples.

    Args:
        correct: ``(..., K)`` rightly predicted examples per class.
        support: ``(..., K)`` examples per class.
        predicted: ``(..., K)`` predictions per class.

    Raises:
        EvaluationError: no examples at all.
    """
    num_classes = ((support > 0) | (predicted > 0)).sum(axis=-1)
    if not np.all(num_classes):
        raise EvaluationError("macro scores need at least one example, got none")
    precision, recall = _ratio(correct, predicted), _ratio(correct, support)
    f1 = _ratio(2 * correct, support + predicted)
    means = (np.asarray(values.sum(axis=-1) / num_classes) for values in (precision, recall, f1))
    return MacroScores(*means)


def _ratio(part: NDArray[np.floating], whole: NDArray[np.floating]) -> NDArray[np.float64]:
    quotient = np.zeros(np.shape(whole), dtype=np.float64)
    np.divide(part, whole, out=quotient, where=np.asarray(whole) > 0)
    return quotient
