"""Corrected bootstrap intervals against scipy's, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap as reference
from scipy.stats import t

from evaluation.bca import MAX_BLOCKS, acceleration_of, bca_ends
from evaluation.statistics import MAX_ELEMENTS, bootstrap, bootstrap_intervals, mean_of


def test_ends_are_scipys_but_for_students_quantiles() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    statistic = mean_of(values[:, None])
    samples = bootstrap(statistic, 60, resamples=20_000)
    acceleration = acceleration_of(statistic, np.arange(60), 60, MAX_ELEMENTS)
    # The confidence that a normal quantile needs to be Student's of 95%.
    widened = 1 - 2 * _normal_tail(t.ppf(0.975, 59) * np.sqrt(60 / 59))
    expected = reference(
        (values,), np.mean, n_resamples=20_000, confidence_level=widened, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = bca_ends(samples, values.mean(keepdims=True), acceleration, 60, 0.95)
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), rel=0.02)
    plain = np.quantile(samples, [0.025, 0.975])
    assert low[0] > plain[0]  # waiting times have a long tail: the truth is more likely above
    assert high[0] > plain[1]


def _normal_tail(quantile: float) -> float:
    from scipy.stats import norm

    return float(norm.sf(quantile))


def test_acceleration_of_a_mean_is_a_sixth_of_its_skewness() -> None:
    values = np.random.default_rng(2).exponential(size=150)
    centred = values - values.mean()
    expected = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    for max_elements in (MAX_ELEMENTS, 400):
        found = acceleration_of(mean_of(values[:, None]), np.arange(150), 150, max_elements)
        assert found[0] == pytest.approx(expected)


def test_many_units_are_left_out_in_parts() -> None:
    values = np.random.default_rng(3).exponential(size=20_000)
    calls: list[int] = []
    statistic = mean_of(values[:, None])

    def counted(weights: np.ndarray) -> np.ndarray:
        calls.append(len(weights))
        return statistic(weights)

    centred = values - values.mean()
    expected = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    assert acceleration_of(counted, np.arange(20_000), 20_000, 2**20)[0] == pytest.approx(expected, abs=0.01)
    assert sum(calls) == MAX_BLOCKS
    assert max(calls) * 20_000 <= 2**20


def test_what_does_not_vary_has_no_width() -> None:
    (found,) = bootstrap_intervals(mean_of(np.ones((30, 1))), 30) or []
    assert (found.low, found.high) == (1.0, 1.0)


def test_the_number_itself_lies_in_its_interval_however_biased_resamples_are() -> None:
    """The number of different examples: every resample has fewer."""
    (found,) = bootstrap_intervals(lambda weights: (weights > 0).sum(axis=1, keepdims=True) * 1.0, 40) or []
    assert found.low <= found.high
    samples = bootstrap(lambda weights: (weights > 0).sum(axis=1, keepdims=True) * 1.0, 40)
    assert found.high == samples.max()


def test_two_units_have_an_interval_from_end_to_end() -> None:
    (found,) = bootstrap_intervals(mean_of(np.array([[0.0], [1.0]])), 2) or []
    assert (found.low, found.high) == (0.0, 1.0)
