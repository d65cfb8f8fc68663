"""Scores of single classes against scikit-learn, their intervals against scipy, and how often those cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from sklearn.metrics import precision_recall_fscore_support

from evaluation import ClassScores, EvaluationError
from evaluation.class_scores import scores_by_class, share_interval


def test_equal_to_scikit_learn_over_random_cases() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        num_classes = int(rng.integers(2, 9))
        labels, predictions = rng.integers(0, num_classes, size=(2, int(rng.integers(1, 40))))
        names = [f"class {index}" for index in range(num_classes)]
        found = scores_by_class(labels, predictions, names)
        expected = precision_recall_fscore_support(labels, predictions, labels=range(num_classes), zero_division=np.nan)
        assert list(found) == names
        ours = [(one.precision, one.recall, one.f1) for one in found.values()]
        np.testing.assert_allclose(np.array(ours, dtype=float).T, expected[:3], rtol=1e-12)
        assert [one.support for one in found.values()] == expected[3].tolist()


def test_what_does_not_exist_is_none() -> None:
    found = scores_by_class(np.array([0, 0]), np.array([1, 1]), ["lost", "only predicted", "absent"])
    assert found["lost"].precision is None
    assert (found["lost"].recall, found["lost"].f1) == (0.0, 0.0)
    assert (found["only predicted"].precision, found["only predicted"].recall) == (0.0, None)
    assert found["only predicted"].recall_interval is None
    assert found["absent"] == ClassScores(0, None, None, None, None)


@pytest.mark.parametrize(("num_found", "num_outcomes"), [(0, 3), (7, 10), (10, 10), (1, 1), (180, 200)])
def test_the_interval_of_single_examples_is_wilsons(num_found: int, num_outcomes: int) -> None:
    found = share_interval(np.arange(num_outcomes) < num_found, np.arange(num_outcomes))
    expected = binomtest(num_found, num_outcomes).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.confidence, found.num_units) == (0.95, num_outcomes)


def test_of_groups_of_one_mind_only_the_groups_count() -> None:
    minds = np.array([True, False, True, True, True, False, True, True])
    found = share_interval(np.repeat(minds, 50), np.repeat(np.arange(8), 50))
    alone = share_interval(minds, np.arange(8))
    assert found.num_units == 8
    # The spread between groups is taken of a sample, so they count as one less than they are.
    assert alone.high - alone.low < found.high - found.low < 1.1 * (alone.high - alone.low)
    all_found = share_interval(np.ones(400, dtype=bool), np.repeat(np.arange(8), 50))
    assert all_found == share_interval(np.ones(8, dtype=bool), np.arange(8))


def test_groups_that_say_nothing_cost_nothing() -> None:
    outcomes = np.tile([True, False], 50)
    assert share_interval(outcomes, np.arange(100) // 2).low == share_interval(outcomes, np.arange(100)).low
    one_group = share_interval(outcomes, np.zeros(100))
    assert (one_group.num_units, one_group.high - one_group.low > 0.85) == (1, True)


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95])
def test_intervals_of_ten_examples_cover_the_truth(truth: float) -> None:
    intervals = [share_interval(np.arange(10) < found, np.arange(10)) for found in range(11)]
    covers = np.array([one.low <= truth <= one.high for one in intervals])
    assert 0.91 <= binom.pmf(np.arange(11), 10, truth) @ covers <= 0.99


def test_intervals_of_groups_cover_the_truth() -> None:
    rng, truth = np.random.default_rng(1), 0.8
    groups = np.repeat(np.arange(30), 5)
    covered = 0
    for _ in range(1000):
        of_group = rng.beta(truth * 2, (1 - truth) * 2, size=30)  # correlation within a group: 1 / 3
        found = share_interval(rng.random(150) < of_group[groups], groups)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 1000 <= 0.97


def test_groups_reach_the_classes() -> None:
    labels = np.array([0, 0, 1, 1])
    found = scores_by_class(labels, np.array([0, 1, 1, 1]), ["a", "b"], groups=["x", "x", "y", "z"])
    assert [one.recall_interval.num_units for one in found.values() if one.recall_interval] == [1, 2]


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(EvaluationError, match="got 1 for 2"):
        scores_by_class(np.array([0, 1]), np.array([0]), ["a", "b"])
