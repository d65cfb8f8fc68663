"""Bootstrap intervals: their width, their coverage, their units."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.statistics import (
    bootstrap,
    bootstrap_intervals,
    mean_of,
    paired_bootstrap,
    percentile_intervals,
    stratified_mean,
)


def interval_of(values: np.ndarray, groups: np.ndarray | None = None, **options: float):
    found = bootstrap_intervals(mean_of(values[:, None]), len(values), groups, **options)
    assert found is not None
    return found[0]


def test_the_interval_of_a_mean_has_the_width_theory_gives() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = interval_of(values, resamples=8000)
    standard_error = values.std() / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.15 * standard_error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.15 * standard_error)
    assert interval.num_units == 400


def test_95_percent_intervals_cover_the_truth_in_about_95_percent_of_samples() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        interval = interval_of((rng.random(100) < 0.3).astype(float), seed=seed, resamples=400)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_examples_of_one_group_are_drawn_together() -> None:
    # Every group is of one mind, so 20 groups of 50 are worth 20 examples, not 1,000.
    minds = np.random.default_rng(2).normal(size=20)
    values, groups = np.repeat(minds, 50), np.repeat(np.arange(20), 50)
    grouped, single = interval_of(values, groups, resamples=4000), interval_of(values, resamples=4000)
    alone = interval_of(minds, resamples=4000)
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high))
    few = 2.093 / 1.960 * np.sqrt(20 / 19)  # Student's quantile of 20, and that resamples of 20 vary too little
    assert (grouped.high - grouped.low) / (single.high - single.low) == pytest.approx(few * np.sqrt(50), rel=0.1)
    assert grouped.num_units == 20


def test_groups_may_differ_in_size_and_lie_anywhere() -> None:
    seen = []
    bootstrap(lambda weights: seen.append(weights) or weights[:, :1], 5, ["b", "a", "b", "c", "b"], resamples=50)
    weights = np.concatenate(seen)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


@pytest.mark.parametrize("max_elements", [1, 37, 1000])
def test_draws_do_not_depend_on_the_chunks(max_elements: int) -> None:
    statistic = mean_of(np.random.default_rng(3).normal(size=(11, 2)))
    whole = bootstrap(statistic, 11, resamples=60, seed=5)
    assert whole.shape == (60, 2)
    chunked = bootstrap(statistic, 11, resamples=60, seed=5, max_elements=max_elements)
    np.testing.assert_allclose(chunked, whole, rtol=1e-12)
    assert not np.allclose(bootstrap(statistic, 11, resamples=60, seed=6), whole)


def test_a_chunk_holds_no_more_than_the_budget() -> None:
    sizes = []
    bootstrap(lambda weights: sizes.append(weights.size) or weights[:, :1], 10, resamples=25, max_elements=40)
    assert max(sizes) <= 40
    assert sum(sizes) == 250


def test_one_unit_has_no_interval() -> None:
    assert bootstrap_intervals(mean_of(np.ones((1, 1))), 1) is None
    assert bootstrap_intervals(mean_of(np.ones((4, 1))), 4, [3, 3, 3, 3]) is None


def test_paired_comparison_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(4)
    hardness = rng.normal(size=300)
    first, second = hardness + 0.10 + 0.2 * rng.normal(size=300), hardness
    found = paired_bootstrap(first, second)
    assert found.difference == pytest.approx((first - second).mean())
    assert 0 < found.interval.low < found.difference < found.interval.high
    assert found.p_value < 0.01
    assert interval_of(first).low < interval_of(second).high  # apart they overlap


def test_paired_comparison_of_a_model_with_itself_finds_nothing() -> None:
    values = np.random.default_rng(5).random(50)
    found = paired_bootstrap(values, values)
    assert (found.difference, found.interval.low, found.interval.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_swapping_the_models_turns_the_sign() -> None:
    first, second = np.random.default_rng(6).random((2, 80))
    forth, back = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert forth.difference == -back.difference
    assert forth.interval.low == pytest.approx(-back.interval.high)
    assert forth.p_value == back.p_value


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(7)
    p_values = [paired_bootstrap(*rng.normal(size=(2, 60)), resamples=400, seed=seed).p_value for seed in range(200)]
    assert 0.02 <= np.mean(np.array(p_values) < 0.1) <= 0.2


def test_paired_groups_are_drawn_together() -> None:
    minds = np.random.default_rng(8).normal(size=15)
    values, groups = np.repeat(minds, 10), np.repeat(np.arange(15), 10)
    found = paired_bootstrap(values, np.zeros(150), groups)
    alone = paired_bootstrap(minds, np.zeros(15))
    assert (found.interval.low, found.interval.high) == pytest.approx((alone.interval.low, alone.interval.high))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap(mean_of(np.ones((1, 1))), 0), "at least one example"),
        (lambda: bootstrap(mean_of(np.ones((3, 1))), 3, [0, 1]), "one group id per example"),
        (lambda: bootstrap(mean_of(np.ones((3, 1))), 3, resamples=0), "resamples must be >= 1, got 0"),
        (lambda: percentile_intervals(np.ones((3, 1)), 3, confidence=95), "between 0 and 1, got 95"),
        (lambda: paired_bootstrap(np.ones(3), np.ones(4)), "one length"),
        (lambda: paired_bootstrap(np.ones(1), np.ones(1)), "at least two"),
        (lambda: paired_bootstrap(np.array([1.0, np.nan]), np.ones(2)), "finite"),
    ],
)
def test_what_cannot_be_resampled_is_refused(call, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        call()


def stratified_interval(strata: list[np.ndarray], seed: int = 0):
    samples = [
        bootstrap(mean_of(values[:, None]), len(values), resamples=400, seed=(seed, number))
        for number, values in enumerate(strata)
    ]
    return percentile_intervals(stratified_mean(samples), len(strata))[0]


def test_a_stratified_interval_has_the_width_theory_gives() -> None:
    strata = [np.random.default_rng(size).normal(size=size) for size in (50, 100, 400)]
    found = stratified_interval(strata)
    standard_error = np.sqrt(sum(values.var() / len(values) for values in strata)) / 3
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


def test_stratified_intervals_cover_the_mean_over_data_sets() -> None:
    rng, accuracies = np.random.default_rng(3), [0.9, 0.6, 0.3]
    hits = 0
    for trial in range(300):
        strata = [(rng.random(60 * (number + 1)) < p).astype(float) for number, p in enumerate(accuracies)]
        interval = stratified_interval(strata, trial)
        hits += interval.low <= 0.6 <= interval.high
    assert 0.92 <= hits / 300 <= 0.98
