"""The linear probe against scikit-learn on rows written out, and its choice of weight decay."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from evaluation import EvaluationError
from evaluation.metrics import linear_probe, validation_split
from tests.evaluation.metrics.test_knn import clusters


def test_the_probe_is_logistic_regression_on_all_rows_with_the_c_that_validation_chose() -> None:
    train, labels = clusters(200, seed=0)
    test, _ = clusters(80, seed=1)
    found = linear_probe(train, labels, test, 4, c_grid=(0.01, 1.0, 100.0), seed=3)
    fitted, held_out = validation_split(labels, 0.2, seed=3)
    unit = normalize(train)
    expected = {
        c: LogisticRegression(C=c, max_iter=1000)
        .fit(unit[fitted], labels[fitted])
        .score(unit[held_out], labels[held_out])
        for c in (0.01, 1.0, 100.0)
    }
    assert found.validation_accuracy == pytest.approx(expected)
    assert found.c == max(expected, key=expected.__getitem__)
    refitted = LogisticRegression(C=found.c, max_iter=1000).fit(unit, labels)
    assert found.predictions.tolist() == refitted.predict(normalize(test)).tolist()
    assert found.is_converged


def test_the_optimum_is_that_of_a_plain_loop_of_gradient_descent() -> None:
    """Multinomial cross-entropy plus ||W||^2 / 2C without the intercept, by steps written out."""
    train, labels = clusters(60, seed=0, num_classes=3)
    test, _ = clusters(40, seed=1, num_classes=3)
    x, c = normalize(train), 2.0
    weights, intercept = np.zeros((6, 3)), np.zeros(3)
    for _ in range(3000):
        scores = x @ weights + intercept
        probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        error = probabilities - np.eye(3)[labels]
        weights -= 0.02 * (c * x.T @ error + weights)
        intercept -= 0.02 * c * error.sum(axis=0)
    expected = (normalize(test) @ weights + intercept).argmax(axis=1)
    assert linear_probe(train, labels, test, 3, c_grid=(c,)).predictions.tolist() == expected.tolist()


def test_test_rows_choose_nothing() -> None:
    train, labels = clusters(200, seed=0)
    test, _ = clusters(80, seed=1)
    whole, part = (linear_probe(train, labels, rows, 4) for rows in (test, test[:3]))
    assert whole.c == part.c
    assert whole.validation_accuracy == part.validation_accuracy
    assert whole.predictions[:3].tolist() == part.predictions.tolist()


def test_the_probe_does_not_see_norms_and_repeats_itself() -> None:
    train, labels = clusters(120, seed=0)
    test, _ = clusters(50, seed=1)
    found, scaled = linear_probe(train, labels, test, 4), linear_probe(5 * train, labels, test / 3, 4)
    assert found.predictions.tolist() == scaled.predictions.tolist()
    assert found.validation_accuracy == scaled.validation_accuracy
    assert found.validation_accuracy == linear_probe(train, labels, test, 4).validation_accuracy


def test_of_equally_accurate_values_the_strongest_decay_is_chosen() -> None:
    train = np.repeat([[1.0, 0.0], [0.0, 1.0]], 20, axis=0)
    labels = np.repeat([0, 1], 20)
    assert linear_probe(train, labels, train, 2, c_grid=(10.0, 0.1, 1.0)).c == 0.1


def test_one_value_is_taken_and_no_row_held_out() -> None:
    train, labels = np.eye(3), np.array([0, 1, 2])
    found = linear_probe(train, labels, train, 3, c_grid=(1.0,))
    assert found.validation_accuracy == {}
    assert found.predictions.tolist() == [0, 1, 2]


def test_too_few_iterations_are_told_and_not_warned_of() -> None:
    pixels, labels = load_digits(return_X_y=True)
    assert not linear_probe(
        pixels[:200], labels[:200], pixels[200:210], 10, c_grid=(1e4,), max_iterations=2
    ).is_converged


def test_the_validation_split_takes_its_share_of_every_class() -> None:
    labels = np.array([0] * 10 + [1] * 3 + [2] + [3] * 2)
    fitted, held_out = validation_split(labels, 0.2, seed=0)
    assert np.bincount(labels[held_out], minlength=4).tolist() == [2, 1, 0, 1]
    assert sorted([*fitted, *held_out]) == list(range(len(labels)))
    assert validation_split(labels, 0.2, seed=0)[1].tolist() == held_out.tolist()
    assert validation_split(labels, 0.2, seed=1)[1].tolist() != held_out.tolist()
    assert np.bincount(labels[validation_split(labels, 0.99)[0]]).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c_grid": ()}, r"C must be one or more values > 0, got \[\]"),
        ({"c_grid": (1.0, 0.0)}, "C must be one or more values > 0"),
        ({"validation_fraction": 1.0}, "must lie between 0 and 1, got 1.0"),
        ({"train_labels": np.array([0, 1, 2, 3])}, "a class of at least two training rows is needed"),
        ({"train_labels": np.zeros(4, int)}, "at least two classes, got one"),
        ({"train_labels": np.array([0, 1])}, "one label per training row"),
    ],
)
def test_what_cannot_be_fitted_is_refused(changes: dict[str, object], message: str) -> None:
    fields = {"train": np.eye(4), "train_labels": np.array([0, 0, 1, 1]), "test": np.eye(4), "num_classes": 4}
    with pytest.raises(EvaluationError, match=message):
        linear_probe(**(fields | changes))
