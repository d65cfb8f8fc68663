"""Draws of a few rows per class, and the classifiers that learn from them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from evaluation import EvaluationError
from evaluation.metrics import few_label_predictions, few_label_rows
from tests.evaluation.metrics.test_knn import clusters

LABELS = np.array([0, 1, 2, 0, 1, 2, 2, 0, 1, 0, 2, 1, 0])


def test_as_many_distinct_rows_of_every_class_are_drawn() -> None:
    rows = few_label_rows(LABELS, 3, seed=0)
    assert LABELS[rows].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(set(rows.tolist())) == 9


def test_of_one_seed_fewer_rows_are_among_more_and_seeds_differ() -> None:
    draws = {seed: few_label_rows(LABELS, 2, seed).tolist() for seed in range(5)}
    assert all(set(draw) <= set(few_label_rows(LABELS, 4, seed).tolist()) for seed, draw in draws.items())
    assert len({tuple(draw) for draw in draws.values()}) > 1
    assert few_label_rows(LABELS, 2, 0).tolist() == draws[0]


def test_each_seed_is_logistic_regression_on_its_rows() -> None:
    train, labels = clusters(90, seed=0)
    test, _ = clusters(40, seed=1)
    found = few_label_predictions(train, labels, test, 4, labels_per_class=3, num_seeds=4, c=7.0)
    assert found.shape == (4, 40)
    for seed, predictions in enumerate(found):
        rows = few_label_rows(labels, 3, seed)
        model = LogisticRegression(C=7.0, max_iter=1000).fit(normalize(train[rows]), labels[rows])
        assert predictions.tolist() == model.predict(normalize(test)).tolist()


def test_more_labels_help() -> None:
    train, labels = clusters(400, seed=0, noise=0.8)
    test, answers = clusters(400, seed=1, noise=0.8)
    accuracies = [
        (few_label_predictions(train, labels, test, 4, labels_per_class=count) == answers).mean()
        for count in (1, 5, 50)
    ]
    assert accuracies == sorted(accuracies)
    assert accuracies[2] > accuracies[0] + 0.05


@pytest.mark.parametrize(
    ("labels_per_class", "message"),
    [(0, "labels per class must be >= 1, got 0"), (5, "class 1 has 4 of the 5 rows needed")],
)
def test_what_cannot_be_drawn_is_refused(labels_per_class: int, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        few_label_rows(LABELS, labels_per_class, seed=0)


def test_one_label_of_each_of_many_classes_is_not_warned_of() -> None:
    labels = np.arange(30)
    rows = np.eye(30)
    found = few_label_predictions(rows, labels, rows, 30, labels_per_class=1, num_seeds=1)
    assert found.tolist() == [labels.tolist()]
