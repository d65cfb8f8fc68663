"""Accuracy, balanced accuracy and macro scores against scikit-learn, their intervals against resamples written out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, recall_score

from evaluation.statistics import bootstrap_intervals
from evaluation.tasks.accuracy import METRICS, accuracies, accuracy_intervals, resampled_accuracies

RNG = np.random.default_rng(0)
LABELS = RNG.choice(4, size=50, p=[0.6, 0.2, 0.15, 0.05])
PREDICTIONS = np.where(RNG.random(50) < 0.6, LABELS, RNG.integers(0, 5, size=50))


def expected(rows: np.ndarray) -> list[float]:
    truth, said = LABELS[rows], PREDICTIONS[rows]
    recall = recall_score(truth, said, labels=np.unique(truth), average="macro")
    macro = precision_recall_fscore_support(truth, said, average="macro", zero_division=0)[:3]
    return [accuracy_score(truth, said), recall, *macro]


def test_values_are_those_of_scikit_learn_on_classes_of_unequal_size() -> None:
    """The fifth class is predicted and never right: it has no recall of its own."""
    found = accuracies(LABELS, PREDICTIONS, 5)
    values = expected(np.arange(50))
    assert found == pytest.approx(dict(zip(METRICS, values, strict=True)))
    assert len({round(value, 2) for value in values}) == len(METRICS)


def test_resamples_are_those_of_rows_written_out() -> None:
    drawn = np.random.default_rng(1).integers(0, 50, size=(6, 50))
    weights = np.stack([np.bincount(row, minlength=50) for row in drawn]).astype(float)
    np.testing.assert_allclose(resampled_accuracies(LABELS, PREDICTIONS, 5)(weights), [expected(row) for row in drawn])


def test_intervals_are_those_of_resampled_groups() -> None:
    groups = np.arange(50) // 5
    found = accuracy_intervals(LABELS, PREDICTIONS, 5, groups, resamples=300, seed=4)
    statistic = resampled_accuracies(LABELS, PREDICTIONS, 5)
    assert list(found.values()) == bootstrap_intervals(statistic, 50, groups, resamples=300, seed=4)
    assert {one.num_units for one in found.values()} == {10}
    assert accuracy_intervals(LABELS[:1], PREDICTIONS[:1], 5, None, resamples=10, seed=0) == {}
