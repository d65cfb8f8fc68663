"""Ends of a bootstrap interval that hold the truth as often as they say, for skewed numbers and few examples too.

The plain percentiles of resamples are too narrow where it matters most. Of an accuracy of 97% measured on 200 pictures
they hold the truth 92 times in 100, of one of 90% on 20 groups of ten pictures 90 times. Two known reasons, two known
repairs: the bias-corrected and accelerated bootstrap (BCa; Efron 1987) takes other percentiles where the number is
skewed, and Student's quantiles, widened by sqrt(n / (n - 1)), take the place of normal ones, because resamples of n
units vary less than samples of n do (Hesterberg 2015, arXiv:1411.5279).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

MAX_BLOCKS = 200
"""Parts that are left out in turn to see how skewed a number is. More say the same: the error is about 0.6 / parts."""


def bca_ends(
    samples: NDArray[np.float64],
    estimates: NDArray[np.float64],
    acceleration: NDArray[np.float64],
    num_units: int,
    confidence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ``(S,)`` lower and upper ends.

    Args:
        samples: ``(R, S)`` values under resampling.
        estimates: ``(S,)`` of the examples as they are.
        acceleration: ``(S,)``, see `acceleration_of`.
        num_units: how many were resampled, at least 2.
        confidence: between 0 and 1.
    """
    tail = (1 - confidence) / 2
    is_equal = np.isclose(samples, estimates, rtol=1e-12, atol=1e-12)
    share_below = ((samples < estimates) & ~is_equal).mean(axis=0) + is_equal.mean(axis=0) / 2
    # Further off, an interval would leave out the number that it is of.
    bias = ndtri(np.clip(share_below, tail, 1 - tail))
    reach = -stdtrit(num_units - 1, tail) * np.sqrt(num_units / (num_units - 1))
    ends = []
    for towards in (bias - reach, bias + reach):
        shares = ndtr(bias + towards / np.maximum(1 - acceleration * towards, 1e-9))
        ends.append(np.array([np.quantile(*each) for each in zip(samples.T, shares, strict=True)]))
    return ends[0], ends[1]


def acceleration_of(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    unit_of: NDArray[np.int64],
    num_units: int,
    max_elements: int,
) -> NDArray[np.float64]:
    """Return the ``(S,)`` acceleration: a sixth of the skewness of what each unit adds, by the jackknife.

    Args:
        statistic: from ``(R, N)`` multiplicities to ``(R, S)`` values.
        unit_of: ``(N,)`` int64, the unit each example belongs to.
        num_units: how many there are, at least 2.
        max_elements: multiplicities held at once; the result does not depend on it.
    """
    block_of, num_blocks = unit_of % MAX_BLOCKS, min(num_units, MAX_BLOCKS)
    num_rows = max(1, max_elements // len(unit_of))
    starts = range(0, num_blocks, num_rows)
    left_out = (np.arange(start, min(start + num_rows, num_blocks)) for start in starts)
    values = np.concatenate([statistic((block_of != blocks[:, None]).astype(np.float64)) for blocks in left_out])
    changes = values.mean(axis=0) - values
    spread, skew = (changes**2).sum(axis=0), (changes**3).sum(axis=0)
    return np.asarray(np.divide(skew, 6 * spread**1.5, out=np.zeros_like(skew), where=spread > 1e-20))
