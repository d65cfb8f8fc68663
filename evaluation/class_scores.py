"""Precision, recall and F1 of every class, the recall with an interval that holds for a handful of examples too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.errors import EvaluationError
from evaluation.statistics import CONFIDENCE, Interval


@dataclass(frozen=True)
class ClassScores:
    """How one class came out; fractions in [0, 1].

    Attributes:
        support: examples of the class.
        precision: share of what was given this class that is of it; None where nothing was.
        recall: share of the class's examples that was found; None where it has none.
        f1: harmonic mean of the two, 0 where nothing is right; None where the class neither occurs nor is predicted.
        recall_interval: 95% interval of the recall, see `share_interval`; None where there is no recall.
        average_precision: where an example may have several labels; None elsewhere, and where the class has no example.
    """

    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    recall_interval: Interval | None
    average_precision: float | None = None


def scores_by_class(
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    class_names: Sequence[str],
    groups: ArrayLike | None = None,
) -> dict[str, ClassScores]:
    """Return the scores of every class by its name, in the order of the classes, as scikit-learn computes them.

    Args:
        labels: ``(N,)`` int64 in 0 .. K-1.
        predictions: ``(N,)`` int64 in 0 .. K-1.
        class_names: K names, all different.
        groups: ``(N,)`` ids of examples that are not independent, or None.

    Raises:
        EvaluationError: arrays of different length.
    """
    if labels.shape != predictions.shape:
        raise EvaluationError(f"one prediction per label needed, got {len(predictions)} for {len(labels)}")
    is_found = labels == predictions
    support, predicted, found = (
        np.bincount(classes, minlength=len(class_names)) for classes in (labels, predictions, labels[is_found])
    )
    rows_of = np.split(np.argsort(labels, kind="stable"), np.cumsum(support)[:-1])
    ids = np.arange(len(labels)) if groups is None else np.asarray(groups)
    return {
        name: ClassScores(
            support=int(support[index]),
            precision=_share(found[index], predicted[index]),
            recall=_share(found[index], support[index]),
            f1=_share(2 * found[index], support[index] + predicted[index]),
            recall_interval=share_interval(is_found[rows], ids[rows]) if len(rows) else None,
        )
        for index, (name, rows) in enumerate(zip(class_names, rows_of, strict=True))
    }


def scores_by_label(
    targets: NDArray[np.bool_],
    given: NDArray[np.bool_] | None,
    average_precisions: NDArray[np.float64],
    class_names: Sequence[str],
    groups: ArrayLike | None = None,
) -> dict[str, ClassScores]:
    """Return the scores of every class by its name where an example may have several labels.

    Args:
        targets: ``(N, K)`` whether an example has the label.
        given: ``(N, K)`` whether it is given it; None where no labels are, and only average precision exists.
        average_precisions: ``(K,)``, NaN where no example has the label.
        class_names: K names, all different.
        groups: ``(N,)`` ids of examples that are not independent, or None.
    """
    ids = np.arange(len(targets)) if groups is None else np.asarray(groups)
    scores = {}
    for index, name in enumerate(class_names):
        own, precision = targets[:, index], average_precisions[index]
        average = None if np.isnan(precision) else float(precision)
        if given is None:
            scores[name] = ClassScores(int(own.sum()), None, None, None, None, average)
            continue
        said = given[:, index]
        found, support, predicted = (own & said).sum(), own.sum(), said.sum()
        scores[name] = ClassScores(
            support=int(support),
            precision=_share(found, predicted),
            recall=_share(found, support),
            f1=_share(2 * found, support + predicted),
            recall_interval=share_interval(said[own], ids[own]) if support else None,
            average_precision=average,
        )
    return scores


def share_interval(outcomes: NDArray[np.bool_], groups: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's score interval of the share of true outcomes.

    A class often has ten examples, all found: resampling them finds nothing but 100%, which says that the next is found
    for certain. Wilson's interval (1927) covers the truth as often as it says there too. Of examples that come in
    groups as many count as would be as telling if they were independent (Kish's effective sample size, from the spread
    between groups; of outcomes that are all equal, which have no spread, the groups).

    Args:
        outcomes: ``(N,)`` bool, at least one.
        groups: ``(N,)`` ids; examples of equal id are not independent.
        confidence: between 0 and 1.
    """
    share, size = float(outcomes.mean()), _effective_size(outcomes, groups)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(share * (1 - share) / size + (z / (2 * size)) ** 2)
    return Interval(max(0.0, centre - half), min(1.0, centre + half), confidence, len(np.unique(groups)))


def _effective_size(outcomes: NDArray[np.bool_], groups: ArrayLike) -> float:
    """Return how many independent outcomes would be as telling as these."""
    unit_of = np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes, found = np.bincount(unit_of), np.bincount(unit_of, outcomes)
    num_units, num_outcomes, share = len(sizes), len(outcomes), float(outcomes.mean())
    if num_units == num_outcomes:
        return float(num_outcomes)
    if num_units == 1 or share in (0, 1):
        return float(num_units)
    variance = float(((found - share * sizes) ** 2).sum()) / num_outcomes**2 * num_units / (num_units - 1)
    return min(float(num_outcomes), share * (1 - share) / variance) if variance > 0 else float(num_outcomes)


def _share(part: np.integer, whole: np.integer) -> float | None:
    return float(part / whole) if whole else None
