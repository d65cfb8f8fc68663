"""Holm's correction and the spread over seeds, beside worked examples, scipy and simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from evaluation import EvaluationError, compare_over_seeds, holm, spread_over_seeds
from evaluation.statistics import bootstrap, compare_samples, mean_of


def test_holm_of_a_case_worked_by_hand() -> None:
    # In order 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, which may not fall below the 0.06 before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([0.02]).tolist() == [0.02]
    assert holm([]).tolist() == []


def test_holm_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(size=20) ** 3
    order = rng.permutation(20)
    np.testing.assert_allclose(holm(values)[order], holm(values[order]))


@pytest.mark.parametrize("values", [[0.5, 1.2], [-0.1], [np.nan]])
def test_what_is_no_p_value_is_refused(values: list[float]) -> None:
    with pytest.raises(EvaluationError, match=r"p-values must lie in \[0, 1\]"):
        holm(values)


def test_spread_over_seeds_of_a_case_worked_by_hand() -> None:
    found = spread_over_seeds([0.50, 0.52, 0.54])
    assert (found.mean, found.std, found.num_runs) == (pytest.approx(0.52), pytest.approx(0.02), 3)
    half = 4.302653 * 0.02 / np.sqrt(3)  # the 97.5% quantile of Student's t with 2 degrees of freedom
    assert (found.interval.low, found.interval.high) == (pytest.approx(0.52 - half), pytest.approx(0.52 + half))
    with pytest.raises(EvaluationError, match="needs two runs at least, got 1"):
        spread_over_seeds([0.5])


def test_t_intervals_over_three_seeds_cover_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    found = [spread_over_seeds(rng.normal(0.6, 0.02, 3)).interval for _ in range(4000)]
    assert 0.94 < np.mean([one.low <= 0.6 <= one.high for one in found]) < 0.96


def test_models_are_compared_over_seeds_as_scipy_does() -> None:
    first, second = [0.61, 0.64, 0.60], [0.55, 0.59, 0.58, 0.52]
    found, expected = compare_over_seeds(first, second), ttest_ind(first, second, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))


def test_runs_without_any_spread_are_equal_or_not() -> None:
    assert compare_over_seeds([0.5, 0.5], [0.5, 0.5]).p_value == 1
    different = compare_over_seeds([0.5, 0.5], [0.4, 0.4])
    assert different.p_value == 0
    assert different.interval.low == different.interval.high == pytest.approx(0.1)


def family_wise_error_rate(num_models: int, num_examples: int, num_trials: int, adjust: bool) -> float:
    """How often equally good models of any kind are told apart, in some pair, by paired bootstraps."""
    rng = np.random.default_rng(1)
    num_pairs = num_models * (num_models - 1) // 2
    wrong = 0
    for trial in range(num_trials):
        difficulty = rng.uniform(0.2, 0.9, num_examples)  # an easy example is easy for all: outcomes go together
        right = (rng.uniform(size=(num_examples, num_models)) < difficulty[:, None]).astype(np.float64)
        samples = bootstrap(mean_of(right), num_examples, resamples=200 * num_pairs, seed=trial)
        means = right.mean(axis=0)
        p_values = [
            compare_samples(samples[:, a] - samples[:, b], means[a] - means[b], num_examples).p_value
            for a, b in combinations(range(num_models), 2)
        ]
        wrong += bool((holm(p_values) if adjust else np.array(p_values)).min() < 0.05)
    return wrong / num_trials


def test_of_ten_equally_good_models_holm_tells_any_apart_in_one_case_of_twenty() -> None:
    assert family_wise_error_rate(10, 200, 100, adjust=True) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)


def test_without_holm_most_such_cases_would_be_wrong() -> None:
    assert family_wise_error_rate(10, 200, 20, adjust=False) > 0.4
