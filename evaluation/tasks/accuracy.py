"""Accuracy, balanced accuracy and macro scores of one answer per picture, with intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from evaluation.metrics import macro_scores, mean_per_class_recall
from evaluation.statistics import Interval, Statistic, bootstrap_intervals

METRICS = ("acc1", "mean_per_class_recall", "macro_precision", "macro_recall", "macro_f1")
HEADLINE = METRICS[:2]


def accuracies(labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int) -> dict[str, float | None]:
    """Return the metrics of ``(M,)`` answers, as `METRICS` names them."""
    values = resampled_accuracies(labels, predictions, num_classes)(np.ones((1, len(labels))))[0]
    return dict(zip(METRICS, values.tolist(), strict=True))


def accuracy_intervals(
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    num_classes: int,
    groups: NDArray[np.int64] | None,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Return their bootstrap intervals; empty where there are under two pictures, or groups, to resample."""
    statistic = resampled_accuracies(labels, predictions, num_classes)
    found = bootstrap_intervals(statistic, len(labels), groups, resamples=resamples, seed=seed)
    return dict(zip(METRICS, found, strict=True)) if found else {}


def resampled_accuracies(labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int) -> Statistic:
    """Return the metrics, in the order of `METRICS`, of examples with given multiplicities."""
    rows, ones = np.arange(len(labels)), np.ones(len(labels))
    own, given = (csr_matrix((ones, (rows, one)), shape=(len(rows), num_classes)) for one in (labels, predictions))
    is_correct = (labels == predictions).astype(np.float64)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        accuracy = (weights @ is_correct) / weights.sum(axis=1)
        correct, support, predicted = (weights * is_correct) @ own, weights @ own, weights @ given
        macro = macro_scores(correct, support, predicted)
        balanced = mean_per_class_recall(correct, support)
        return np.column_stack([accuracy, balanced, macro.precision, macro.recall, macro.f1])

    return statistic
