"""Pearson's and Spearman's correlation, of examples as they are or as often as each was drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pearson(
    first: NDArray[np.floating], second: NDArray[np.floating], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the ``(R,)`` float64 Pearson correlations of two lists of numbers, in [-1, 1].

    Args:
        first: ``(N,)`` float, or ``(R, N)``.
        second: the same.
        weights: ``(R, N)`` how often each example was drawn; None counts each once, and R is 1.

    Returns:
        NaN where one of the two does not vary among what was drawn.
    """
    weights = np.ones((1, first.shape[-1])) if weights is None else weights
    left, right = (_standardised(np.broadcast_to(values, weights.shape), weights) for values in (first, second))
    return np.asarray((weights * left * right).sum(axis=1))


def spearman(
    first: NDArray[np.floating], second: NDArray[np.floating], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the ``(R,)`` float64 Spearman correlations: Pearson's of the ranks, equal values sharing their mean rank.

    Arguments and result are those of `pearson`, but that both lists are ``(N,)``. With weights, ranks are those among
    what was drawn, so that a bootstrap sample has the value that it would have as a list of its own.
    """
    weights = np.ones((1, len(first))) if weights is None else weights
    return pearson(_mid_ranks(first, weights), _mid_ranks(second, weights), weights)


def _standardised(values: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale what was drawn to mean 0 and a sum of squares of 1; NaN where it does not vary."""
    highest = np.where(weights > 0, values, -np.inf).max(axis=1, keepdims=True)
    lowest = np.where(weights > 0, values, np.inf).min(axis=1, keepdims=True)
    # Rounding makes the variance of equal values a little more than 0, so that it cannot tell.
    span = np.where(highest > lowest, highest - lowest, np.nan)
    scaled = (values - lowest) / span
    centred = scaled - (weights * scaled).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt((weights * centred**2).sum(axis=1, keepdims=True)))


def _mid_ranks(values: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ``(R, N)`` ranks of ``(N,)`` values among what was drawn, from 1."""
    order = np.argsort(values, kind="stable")
    _, starts, place = np.unique(values[order], return_index=True, return_inverse=True)
    drawn = np.add.reduceat(weights[:, order], starts, axis=1)  # of each value
    ranks = np.cumsum(drawn, axis=1) - (drawn - 1) / 2
    found = np.empty_like(weights)
    found[:, order] = ranks[:, place]
    return found
