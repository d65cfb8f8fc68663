"""Correlations against scipy, and of resamples against the lists that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from evaluation.metrics import pearson, spearman


def numbers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two related lists; of odd seeds with many ties in both."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=rng.integers(3, 60))
    second = first + rng.normal(size=len(first))
    return (first.round(), second.round(1)) if seed % 2 else (first, second)


@pytest.mark.parametrize("seed", range(40))
def test_both_are_those_of_scipy_with_ties_and_without(seed: int) -> None:
    first, second = numbers(seed)
    assert spearman(first, second)[0] == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert pearson(first, second)[0] == pytest.approx(pearsonr(first, second).statistic, abs=1e-12)


@pytest.mark.parametrize("correlate", [spearman, pearson])
def test_a_resample_has_the_value_of_the_list_that_it_stands_for(correlate) -> None:  # type: ignore[no-untyped-def]
    first, second = numbers(3)
    weights = np.random.default_rng(0).integers(0, 3, size=(20, len(first))).astype(float)
    for row, value in zip(weights, correlate(first, second, weights), strict=True):
        times = row.astype(int)
        assert value == pytest.approx(correlate(first.repeat(times), second.repeat(times))[0], abs=1e-12)


@pytest.mark.parametrize("correlate", [spearman, pearson])
def test_what_does_not_vary_has_no_correlation(correlate) -> None:  # type: ignore[no-untyped-def]
    first = np.full(7, 0.1, dtype=np.float32)
    assert np.isnan(correlate(first, np.arange(7.0))[0])
    assert np.isnan(correlate(np.arange(7.0), first)[0])
    drawn = np.array([[1.0, 1, 0, 0], [1, 0, 1, 0]])
    assert np.isnan(correlate(np.array([1.0, 1, 2, 3]), np.arange(4.0), drawn)).tolist() == [True, False]
