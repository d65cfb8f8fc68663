"""Linear classifiers from a handful of labels per class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.linear_probe import logistic_regression
from evaluation.metrics.rows import check_labels, unit_rows

LABELS_PER_CLASS = (1, 2, 5, 10)
NUM_SEEDS = 5

FEW_LABEL_C = 100.0
"""Inverse weight decay of `few_label_predictions`. A handful of labels leaves none to choose it with, so it is fixed:
large, so that it hardly weighs on embeddings that differ little from each other, such as an untrained encoder's."""


def few_label_rows(labels: NDArray[np.int64], labels_per_class: int, seed: int) -> NDArray[np.int64]:
    """Return the row numbers of ``labels_per_class`` rows drawn from each class that occurs, class by class.

    Of one seed the draw of fewer rows is part of the draw of more. It depends on the labels alone, so that all models
    learn from the same rows.

    Args:
        labels: ``(N,)`` int64.
        labels_per_class: at least 1.
        seed: of the draw.

    Raises:
        EvaluationError: a class with fewer rows.
    """
    if labels_per_class < 1:
        raise EvaluationError(f"labels per class must be >= 1, got {labels_per_class}")
    rng = np.random.default_rng(seed)
    drawn = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) < labels_per_class:
            raise EvaluationError(f"class {label} has {len(rows)} of the {labels_per_class} rows needed")
        drawn.append(rows[:labels_per_class])
    return np.concatenate(drawn) if drawn else np.empty(0, dtype=np.int64)


def few_label_predictions(
    train: NDArray[np.floating],
    train_labels: NDArray[np.int64],
    test: NDArray[np.floating],
    num_classes: int,
    *,
    labels_per_class: int,
    num_seeds: int = NUM_SEEDS,
    c: float = FEW_LABEL_C,
) -> NDArray[np.int64]:
    """Return the ``(num_seeds, M)`` int64 classes of the test rows by classifiers from few labels.

    For each seed 0 .. num_seeds - 1, logistic regression is fitted on the rows of `few_label_rows`, L2-normalised and
    not standardised.

    Args:
        train: ``(N, D)`` float.
        train_labels: ``(N,)`` int64 in 0 .. num_classes - 1, of at least two classes.
        test: ``(M, D)`` float.
        num_classes: K.
        labels_per_class: rows of each class that a classifier sees.
        num_seeds: draws.
        c: inverse weight decay, the same for all.

    Raises:
        EvaluationError: rows or labels that do not fit, a class with fewer rows, or fewer than two classes.
    """
    check_labels(train, train_labels, num_classes)
    features, answers = unit_rows(train, "training rows"), unit_rows(test, "test rows")
    draws = [few_label_rows(train_labels, labels_per_class, seed) for seed in range(num_seeds)]
    return np.stack([logistic_regression(features[rows], train_labels[rows], answers, c)[0] for rows in draws])
