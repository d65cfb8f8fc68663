"""Accuracy and balanced accuracy of one answer per picture, with intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from evaluation.metrics import mean_per_class_recall
from evaluation.statistics import Interval, Statistic, bootstrap_intervals

METRICS = ("acc1", "mean_per_class_recall")


def accuracies(labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int) -> dict[str, float | None]:
    """Return ``acc1`` and ``mean_per_class_recall`` of ``(M,)`` answers, as `METRICS` names them."""
    values = _resampled(labels, predictions, num_classes)(np.ones((1, len(labels))))[0]
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
    statistic = _resampled(labels, predictions, num_classes)
    found = bootstrap_intervals(statistic, len(labels), groups, resamples=resamples, seed=seed)
    return dict(zip(METRICS, found, strict=True)) if found else {}


def _resampled(labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int) -> Statistic:
    is_correct = (labels == predictions).astype(np.float64)
    own = csr_matrix((np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), num_classes))

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        accuracy = (weights @ is_correct) / weights.sum(axis=1)
        return np.column_stack([accuracy, mean_per_class_recall((weights * is_correct) @ own, weights @ own)])

    return statistic
