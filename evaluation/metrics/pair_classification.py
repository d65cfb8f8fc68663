"""Telling pairs that belong together from others by one number per pair: average precision, and the best threshold.

Pairs of equal score cannot be told apart by any threshold, so a cut never goes through them. MTEB's search cuts between
any two pairs in the order of the file and, of equal scores, reports accuracies that no threshold reaches; where no two
scores are equal, these are its numbers. As there, a threshold leaves at least one pair on either side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError


@dataclass(frozen=True)
class BestCut:
    """The threshold at which a score does best.

    Attributes:
        value: of the metric there, in [0, 1].
        threshold: half-way between the two scores that it separates; pairs above it are taken to belong together.
    """

    value: float
    threshold: float


@dataclass(frozen=True)
class _Cuts:
    """Pairs from the highest score to the lowest, with a cut below each of the G values that occur.

    Attributes:
        scores: ``(G,)`` the values, falling.
        num_above: ``(R, G)`` pairs above each cut, in each of R resamples.
        num_right: ``(R, G)`` pairs above it that belong together.
    """

    scores: NDArray[np.float64]
    num_above: NDArray[np.float64]
    num_right: NDArray[np.float64]


def average_precision(
    scores: NDArray[np.floating], labels: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the ``(R,)`` float64 average precision, as scikit-learn's ``average_precision_score`` has it.

    The sum over thresholds of the precision there, times the recall that it adds.

    Args:
        scores: ``(N,)`` float, higher for pairs that belong together.
        labels: ``(N,)`` whether they do.
        weights: ``(R, N)`` how often each pair was drawn; None counts each once, and R is 1.

    Returns:
        In [0, 1]; NaN where no pair that belongs together was drawn.

    Raises:
        EvaluationError: no pairs, or arrays that do not fit.
    """
    cuts = _cuts(scores, labels, weights)
    precision = _share(cuts.num_right, cuts.num_above)
    added = np.diff(cuts.num_right, axis=1, prepend=0)
    totals = cuts.num_right[:, -1]
    gained = (precision * added).sum(axis=1)
    return np.asarray(np.divide(gained, totals, out=np.full(len(totals), np.nan), where=totals > 0))


def best_accuracy(
    scores: NDArray[np.floating], labels: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], BestCut | None]:
    """Return the ``(R,)`` best accuracy over all thresholds, each resample's by its own, and the first one's cut.

    Arguments and errors are those of `average_precision`. NaN, and None, where all pairs have one score.
    """
    cuts = _cuts(scores, labels, weights)
    totals, positives = cuts.num_above[:, -1:], cuts.num_right[:, -1:]
    right = cuts.num_right + (totals - positives) - (cuts.num_above - cuts.num_right)
    return _best(cuts, right / totals)


def best_f1(
    scores: NDArray[np.floating], labels: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], BestCut | None]:
    """Return the ``(R,)`` best F1 of the pairs that belong together, as `best_accuracy` does."""
    cuts = _cuts(scores, labels, weights)
    return _best(cuts, _share(2 * cuts.num_right, cuts.num_above + cuts.num_right[:, -1:]))


def _cuts(scores: NDArray[np.floating], labels: NDArray[np.bool_], weights: NDArray[np.float64] | None) -> _Cuts:
    if len(scores) == 0 or scores.shape != labels.shape or scores.ndim != 1:
        raise EvaluationError(f"pairs need one score and one label each, got {scores.shape} and {labels.shape}")
    weights = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    falling = scores[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(falling, prepend=np.inf))
    drawn = weights[:, order]
    above = np.cumsum(np.add.reduceat(drawn, starts, axis=1), axis=1)
    right = np.cumsum(np.add.reduceat(drawn * labels[order], starts, axis=1), axis=1)
    return _Cuts(falling[starts], above, right)


def _best(cuts: _Cuts, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], BestCut | None]:
    is_between = (cuts.num_above > 0) & (cuts.num_above < cuts.num_above[:, -1:])
    allowed = np.where(is_between, values, -np.inf)
    best = allowed.max(axis=1)
    found = np.where(np.isfinite(best), best, np.nan)
    if not is_between[0].any():
        return found, None
    at = int(allowed[0].argmax())
    return found, BestCut(float(found[0]), float((cuts.scores[at] + cuts.scores[at + 1]) / 2))


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
