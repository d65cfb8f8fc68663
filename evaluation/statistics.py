"""Bootstrap intervals and paired comparisons over examples, or over groups of examples that belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.bca import acceleration_of, bca_ends
from evaluation.errors import EvaluationError

RESAMPLES = 2000
CONFIDENCE = 0.95
MAX_ELEMENTS = 2**22
"""Multiplicities held at once by default: 32 MiB of float64."""

Statistic: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From the ``(R, N)`` float64 multiplicities of N examples in R resamples to ``(R, S)`` values."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval: of a metric the percentiles of its bootstrap, of one class's recall Wilson's.

    Attributes:
        low: lower end, in the metric's own unit.
        high: upper end.
        confidence: how often it is to hold the truth, 0.95 by default.
        num_units: how many examples, or groups of them, it is made of.
    """

    low: float
    high: float
    confidence: float
    num_units: int

    def holds(self, value: float) -> bool:
        """True where ``value`` lies in it, its ends included, but for rounding."""
        return self.low - 1e-12 <= value <= self.high + 1e-12


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same examples.

    Attributes:
        difference: mean of the first minus mean of the second.
        interval: of the difference.
        p_value: two-sided, twice the smaller share of resamples on either side of 0 (a resample at 0 counts to both),
            with one added to count and total so that it is never 0; at most 1.
    """

    difference: float
    interval: Interval
    p_value: float


def bootstrap(
    statistic: Statistic,
    num_examples: int,
    groups: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int | Sequence[int] = 0,
    max_elements: int = MAX_ELEMENTS,
) -> NDArray[np.float64]:
    """Return ``(resamples, S)`` float64 values of ``statistic`` under resampling with replacement.

    With ``groups``, whole groups are drawn and their examples come together: drawings of one character, or the captions
    of one picture, are not independent, and drawing them one by one makes intervals too narrow.

    Args:
        statistic: from ``(R, N)`` multiplicities to ``(R, S)`` values.
        num_examples: N, at least 1.
        groups: ``(N,)`` ids; examples of equal id are drawn together. None draws single examples.
        resamples: how many.
        seed: of the draws; equal seeds and groups give equal draws, so that results can be paired. Strata, such as data
            sets whose results are averaged, must have different ones.
        max_elements: multiplicities held at once; the result does not depend on it.

    Raises:
        EvaluationError: no examples, no resamples, or groups of another length.
    """
    if resamples < 1:
        raise EvaluationError(f"resamples must be >= 1, got {resamples}")
    unit_of, num_units = units_of(num_examples, groups)
    rng = np.random.default_rng(seed)
    num_rows = max(1, max_elements // num_examples)
    values = []
    for start in range(0, resamples, num_rows):
        rows = min(num_rows, resamples - start)
        draws = rng.integers(0, num_units, size=(rows, num_units)) + np.arange(rows)[:, None] * num_units
        counts = np.bincount(draws.ravel(), minlength=rows * num_units).reshape(rows, num_units)
        values.append(statistic(counts[:, unit_of].astype(np.float64)))
    return np.concatenate(values)


def mean_of(outcomes: NDArray[np.floating]) -> Statistic:
    """Return the statistic whose S values are the weighted means of the columns of ``(N, S)`` outcomes."""
    columns = outcomes.astype(np.float64)
    return lambda weights: (weights @ columns) / weights.sum(axis=1, keepdims=True)


def percentile_intervals(
    samples: NDArray[np.float64], num_units: int, confidence: float = CONFIDENCE
) -> list[Interval]:
    """Return one percentile interval per column of ``(R, S)`` bootstrap values.

    Raises:
        EvaluationError: a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return [Interval(float(a), float(b), confidence, num_units) for a, b in zip(low, high, strict=True)]


def stratified_mean(strata: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return ``(R, S)`` bootstrap values of the mean over strata, each of them resampled by itself.

    Data sets count equally, however large they are, and are not themselves drawn: the interval says how much the mean
    depends on which examples of these very data sets were judged.

    Args:
        strata: of each the ``(R, S)`` values that `bootstrap` gave, each with a seed of its own.
    """
    return np.asarray(np.mean(np.stack(strata), axis=0))


def bootstrap_intervals(
    statistic: Statistic,
    num_examples: int,
    groups: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> list[Interval] | None:
    """Return an interval for each value of ``statistic``, or None where under two units leave nothing to resample.

    The ends are percentiles of the resamples, chosen as `evaluation.bca` says. Arguments and errors are those of
    `bootstrap` and `percentile_intervals`.
    """
    unit_of, num_units = units_of(num_examples, groups)
    if num_units < 2:
        return None
    _check_confidence(confidence)
    samples = bootstrap(statistic, num_examples, groups, resamples=resamples, seed=seed)
    acceleration = acceleration_of(statistic, unit_of, num_units, MAX_ELEMENTS)
    estimates = statistic(np.ones((1, num_examples)))[0]
    low, high = bca_ends(samples, estimates, acceleration, num_units, confidence)
    return [Interval(float(a), float(b), confidence, num_units) for a, b in zip(low, high, strict=True)]


def paired_bootstrap(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    groups: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> PairedComparison:
    """Compare the means of two models' ``(N,)`` outcomes on the same examples, drawn together in every resample.

    Raises:
        EvaluationError: outcomes of different length or not finite, under two units, and those of `bootstrap`.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise EvaluationError(f"paired outcomes must be two vectors of one length, got {first.shape}, {second.shape}")
    differences = first.astype(np.float64) - second.astype(np.float64)
    if not np.isfinite(differences).all():
        raise EvaluationError("paired outcomes must be finite, got NaN or infinity")
    return paired_bootstrap_of(
        mean_of(differences[:, None]),
        len(differences),
        groups,
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )


def paired_bootstrap_of(
    difference: Statistic,
    num_examples: int,
    groups: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> PairedComparison:
    """Compare two models by a number that is no mean of outcomes, such as a correlation, of the same examples.

    Args:
        difference: from ``(R, N)`` multiplicities to ``(R, 1)`` values of the first model less those of the second.
        num_examples: N.
        groups: as `bootstrap` takes them, and what follows.
        resamples: how many.
        seed: of the draws.
        confidence: of the interval.

    Raises:
        EvaluationError: under two units, and those of `bootstrap`.
    """
    num_units = units_of(num_examples, groups)[1]
    if num_units < 2:
        raise EvaluationError(f"a paired bootstrap needs at least two examples or groups, got {num_units}")
    samples = bootstrap(difference, num_examples, groups, resamples=resamples, seed=seed)
    return compare_samples(samples[:, 0], float(difference(np.ones((1, num_examples)))[0, 0]), num_units, confidence)


def compare_samples(
    samples: NDArray[np.float64], difference: float, num_units: int, confidence: float = CONFIDENCE
) -> PairedComparison:
    """Compare two models by ``(R,)`` bootstrap values of their difference, given what it is without resampling."""
    tail = min(int((samples <= 0).sum()), int((samples >= 0).sum()))
    return PairedComparison(
        difference=difference,
        interval=percentile_intervals(samples[:, None], num_units, confidence)[0],
        p_value=min(1.0, 2 * (tail + 1) / (len(samples) + 1)),
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise EvaluationError(f"confidence must lie between 0 and 1, got {confidence}")


def units_of(num_examples: int, groups: ArrayLike | None) -> tuple[NDArray[np.int64], int]:
    """Return ``(N,)`` the unit that each example belongs to, and how many units there are.

    Raises:
        EvaluationError: no examples, or groups of another length.
    """
    if num_examples < 1:
        raise EvaluationError("a bootstrap needs at least one example, got none")
    if groups is None:
        return np.arange(num_examples), num_examples
    ids = np.asarray(groups)
    if ids.shape != (num_examples,):
        raise EvaluationError(f"one group id per example needed: {num_examples} examples, ids {ids.shape}")
    names, unit_of = np.unique(ids, return_inverse=True)
    return unit_of.astype(np.int64), len(names)
