"""Average precision against scikit-learn, the best thresholds against trying them all."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from evaluation import EvaluationError
from evaluation.metrics import average_precision, best_accuracy, best_f1

BEST = {best_accuracy: accuracy_score, best_f1: f1_score}


def pairs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of pairs; of odd seeds many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.random(rng.integers(8, 50)) < 0.4
    labels[:2] = True, False
    scores = labels + 1.5 * rng.normal(size=len(labels))
    return (scores.round() if seed % 2 else scores), labels


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_that_of_scikit_learn(seed: int) -> None:
    scores, labels = pairs(seed)
    assert average_precision(scores, labels)[0] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("best", BEST)
@pytest.mark.parametrize("seed", range(20))
def test_the_best_is_that_of_all_thresholds_between_different_scores(best, seed: int) -> None:  # type: ignore[no-untyped-def]
    scores, labels = pairs(seed)
    values = np.unique(scores)
    cuts = (values[1:] + values[:-1]) / 2
    reached = [BEST[best](labels, scores > cut) for cut in cuts]
    (value,), found = best(scores, labels)
    assert value == found.value == pytest.approx(max(reached), abs=1e-12)
    assert found.value == pytest.approx(BEST[best](labels, scores > found.threshold), abs=1e-12)


def test_numbers_of_mteb_without_ties() -> None:
    """The example of its own tests."""
    scores = np.array([6.12, 5.39, 5.28, 5.94, 6.34, 6.47, 7.88, 6.62, 8.04, 5.9])
    labels = np.array([0, 0, 0, 0, 1, 0, 0, 0, 1, 0], dtype=bool)
    _, accuracy = best_accuracy(scores, labels)
    _, f1 = best_f1(scores, labels)
    assert accuracy is not None
    assert f1 is not None
    assert (accuracy.value, accuracy.threshold) == pytest.approx((0.9, 7.96))
    assert (f1.value, f1.threshold) == pytest.approx((2 / 3, 7.96))


def test_equal_scores_are_never_cut_apart() -> None:
    scores, labels = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    _, found = best_accuracy(scores, labels)
    assert found is not None
    assert found.value == 0.75  # with a cut through the two in the middle it would be 1
    assert best_accuracy(np.full(4, 0.3), labels)[1] is None
    assert np.isnan(best_f1(np.full(4, 0.3), labels)[0]).all()


@pytest.mark.parametrize("metric", [average_precision, lambda *a: best_accuracy(*a)[0], lambda *a: best_f1(*a)[0]])
def test_a_resample_has_the_value_of_the_list_that_it_stands_for(metric) -> None:  # type: ignore[no-untyped-def]
    scores, labels = pairs(5)
    weights = np.random.default_rng(0).integers(0, 3, size=(20, len(scores))).astype(float)
    weights[:, :2] = 1  # both labels are always drawn
    for row, value in zip(weights, metric(scores, labels, weights), strict=True):
        times = row.astype(int)
        assert value == pytest.approx(metric(scores.repeat(times), labels.repeat(times))[0], abs=1e-12)


def test_nothing_that_belongs_together_has_no_precision() -> None:
    assert np.isnan(average_precision(np.array([1.0, 2.0]), np.array([False, False]))[0])
    with pytest.raises(EvaluationError, match="one score and one label each"):
        average_precision(np.empty(0), np.empty(0, dtype=bool))
