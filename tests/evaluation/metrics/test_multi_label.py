"""Average precision of several labels per example against scikit-learn, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from evaluation import EvaluationError
from evaluation.metrics import average_precisions, expected_average_precision, mean_average_precision, top_k_labels


def test_mean_average_precision_by_hand() -> None:
    # The first class: right, wrong, right; the second: wrong, wrong, right; nobody has the third.
    scores = np.array([[3, 1, 0], [2, 3, 0], [1, 2, 0]], dtype=np.float32)
    targets = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=bool)
    first, second, third = average_precisions(scores, targets)[0]
    assert (first, second) == pytest.approx(((1 + 2 / 3) / 2, 1 / 3))
    assert np.isnan(third)
    assert mean_average_precision(scores, targets) == pytest.approx((first + second) / 2)


def test_equal_to_scikit_learn_with_and_without_ties() -> None:
    rng = np.random.default_rng(0)
    for case in range(60):
        shape = int(rng.integers(2, 40)), int(rng.integers(1, 8))
        scores = rng.normal(size=shape) if case % 2 else rng.integers(0, 4, size=shape).astype(float)
        targets = rng.random(shape) < 0.4
        targets[0] = True
        expected = average_precision_score(targets, scores, average="macro")
        assert mean_average_precision(scores, targets) == pytest.approx(expected, rel=1e-12)


def test_drawn_examples_count_as_often_as_they_were_drawn() -> None:
    rng = np.random.default_rng(1)
    scores, targets = rng.normal(size=(12, 3)), rng.random((12, 3)) < 0.5
    drawn = rng.integers(0, 12, size=(4, 12))
    weights = np.stack([np.bincount(row, minlength=12) for row in drawn]).astype(float)
    written_out = [average_precisions(scores[row], targets[row])[0] for row in drawn]
    np.testing.assert_allclose(average_precisions(scores, targets, weights), written_out)


def test_random_order_reaches_what_is_expected_of_it() -> None:
    rng = np.random.default_rng(2)
    targets = np.arange(9)[:, None] < [1, 4, 9]
    reached = np.mean([average_precisions(rng.random((9, 3)), targets)[0] for _ in range(4000)], axis=0)
    np.testing.assert_allclose(expected_average_precision(targets.sum(axis=0), 9), reached, atol=0.01)
    assert expected_average_precision(np.array([1]), 1).tolist() == [1.0]


def test_the_first_labels_are_those_of_highest_score_and_of_equal_ones_the_first() -> None:
    scores = np.array([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
    assert top_k_labels(scores, 2).tolist() == [[False, True, True], [True, True, False]]
    assert top_k_labels(scores, 5).all()


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.ones((3, 2)), np.ones((2, 2), bool), r"got \(3, 2\), \(2, 2\)"),
        (np.ones((0, 2)), np.ones((0, 2), bool), r"got \(0, 2\)"),
        (np.array([[1.0, 2.0], [np.nan, 1.0]]), np.ones((2, 2), bool), "in row 1"),
        (np.ones((3, 2)), np.zeros((3, 2), bool), "an example with a label, got none"),
    ],
)
def test_what_does_not_fit_is_refused(scores: np.ndarray, targets: np.ndarray, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        mean_average_precision(scores, targets)
