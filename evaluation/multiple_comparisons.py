"""Many pairs of models, and models that were trained several times: Holm's correction, spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student_t

from evaluation.errors import EvaluationError
from evaluation.statistics import CONFIDENCE, Interval, PairedComparison


@dataclass(frozen=True)
class SeedSpread:
    """One number over runs that differ in their seed alone.

    Attributes:
        mean: over the runs.
        std: standard deviation of a sample, divided by one less than the runs.
        interval: of the mean, by Student's t.
        num_runs: at least 2.
    """

    mean: float
    std: float
    interval: Interval
    num_runs: int


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted by Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979).

    Rejecting what is below 0.05 afterwards makes a false rejection, of any of them, in at most 5% of cases, however the
    tests depend on each other.

    Args:
        p_values: ``(m,)`` in [0, 1], in any order.

    Returns:
        ``(m,)`` in the same order: the smallest times m, the next times m - 1 and so on, none below one before it, at
        most 1.

    Raises:
        EvaluationError: values that are not in [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise EvaluationError(f"p-values must lie in [0, 1], got {values.tolist()}")
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def spread_over_seeds(values: Sequence[float], confidence: float = CONFIDENCE) -> SeedSpread:
    """Return mean, standard deviation and t interval of one number of several runs.

    Raises:
        EvaluationError: fewer than two runs.
    """
    runs = np.asarray(values, dtype=np.float64)
    if len(runs) < 2:
        raise EvaluationError(f"a spread over seeds needs two runs at least, got {len(runs)}")
    mean, std = float(runs.mean()), float(runs.std(ddof=1))
    half = float(student_t.ppf((1 + confidence) / 2, len(runs) - 1)) * std / np.sqrt(len(runs))
    return SeedSpread(mean, std, Interval(mean - half, mean + half, confidence, len(runs)), len(runs))


def compare_over_seeds(
    first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE
) -> PairedComparison:
    """Compare the means of two models over their runs by Welch's t-test, which takes variances to differ.

    Says whether training anew would come out the same way; the examples judged are taken as they are.

    Raises:
        EvaluationError: fewer than two runs of either.
    """
    one, other = spread_over_seeds(first), spread_over_seeds(second)
    difference = one.mean - other.mean
    parts = np.array([each.std**2 / each.num_runs for each in (one, other)])
    num_runs = one.num_runs + other.num_runs
    if not parts.any():  # no spread at all: what differs, differs
        return PairedComparison(
            difference, Interval(difference, difference, confidence, num_runs), float(difference == 0)
        )
    error = float(np.sqrt(parts.sum()))
    freedom = parts.sum() ** 2 / (parts**2 / [one.num_runs - 1, other.num_runs - 1]).sum()
    half = float(student_t.ppf((1 + confidence) / 2, freedom)) * error
    p_value = float(2 * student_t.sf(abs(difference) / error, freedom))
    return PairedComparison(difference, Interval(difference - half, difference + half, confidence, num_runs), p_value)
