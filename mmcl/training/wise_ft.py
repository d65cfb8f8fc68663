"""Between the model as it was and as it is now: the point that keeps most of both (WiSE-FT, arXiv:2109.01903)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from evaluation import Change, TaskResult, compare_results
from evaluation.changes import Half
from mmcl.interpolation import interpolate
from mmcl.model import TwoTower
from mmcl.training.guard import Judges

CHOOSING: Half = 0
REPORTED: Half = 1
"""The half of the examples by which alpha is chosen, and the other."""


@dataclass(frozen=True)
class SweepPoint:
    """One interpolation, by the half of the examples that did not choose.

    Attributes:
        alpha: share of the fine-tuned weights.
        target: mean of the main metrics of ``evaluate``, a fraction.
        guard: mean of those of ``guard``.
    """

    alpha: float
    target: float
    guard: float


@dataclass(frozen=True)
class Sweep:
    """What interpolating came to.

    Attributes:
        alpha: the recommended one, which the model carries now.
        points: in order of alpha, from 0 to 1.
        results: of the recommended one, on all examples.
        changes: from before to the recommended one, on the half of the examples that did not choose it.
    """

    alpha: float
    points: tuple[SweepPoint, ...]
    results: tuple[TaskResult, ...]
    changes: tuple[Change, ...]


def sweep_alphas(
    model: TwoTower,
    start: Mapping[str, Tensor],
    alphas: Sequence[float],
    judges: Judges,
    judge: Callable[[], list[TaskResult]],
    known: Mapping[float, list[TaskResult]],
    max_guard_drop: float | None,
) -> Sweep:
    """Judge interpolations of a fine-tuned model with its start, and give it the best one's weights.

    The best has the highest product of target and guard, each a mean over its main metrics, on one half of the
    examples: a tenth less of one weighs as much as a tenth less of the other, however different the two are in size. It
    is one of those whose guard has not fallen by more than is allowed, where that is said and any has not.

    Args:
        model: fine-tuned; carries the recommended weights afterwards.
        start: the state that it began from.
        alphas: from 0 to 1, both among them.
        judges: the tasks.
        judge: of the model as it is.
        known: results that need not be found again: those of 0 and 1.
        max_guard_drop: a fraction, of the guard's mean; None allows any.
    """
    end = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    start = {name: tensor.to(end[name].device) for name, tensor in start.items()}
    found: dict[float, list[TaskResult]] = {}
    for alpha in alphas:
        if alpha not in known:
            model.load_state_dict(interpolate(start, end, alpha))
        found[alpha] = known[alpha] if alpha in known else judge()
    chosen = _choose([_point(alpha, found, judges, CHOOSING) for alpha in alphas], max_guard_drop)
    model.load_state_dict(interpolate(start, end, chosen))
    return Sweep(
        chosen,
        tuple(_point(alpha, found, judges, REPORTED) for alpha in alphas),
        tuple(found[chosen]),
        tuple(changes_by(judges, found[0.0], found[chosen], REPORTED)),
    )


def changes_by(
    judges: Judges,
    before: Sequence[TaskResult],
    after: Sequence[TaskResult],
    half: Half | None = None,
    intervals: bool = True,
) -> list[Change]:
    """Return the changes of the tasks, then those of the guard; on one half of the examples, or on all."""
    tasks, guards = zip(judges.split(before), judges.split(after), strict=True)
    return [
        *compare_results(*tasks, half=half, intervals=intervals),
        *compare_results(*guards, is_guard=True, half=half, intervals=intervals),
    ]


def _point(alpha: float, found: Mapping[float, list[TaskResult]], judges: Judges, half: Half) -> SweepPoint:
    changes = changes_by(judges, found[0.0], found[alpha], half, intervals=False)
    target, guard = ([change.after for change in changes if change.is_guard == is_guard] for is_guard in (False, True))
    return SweepPoint(alpha, statistics.fmean(target or [0.0]), statistics.fmean(guard or [0.0]))


def _choose(points: Sequence[SweepPoint], max_guard_drop: float | None) -> float:
    """Return the alpha of the highest product; of equal ones the nearest to the start."""
    allowed = [point for point in points if max_guard_drop is None or point.guard >= points[0].guard - max_guard_drop]
    candidates = allowed or points
    return max(candidates, key=lambda one: (one.target * one.guard, one.target + one.guard, -one.alpha)).alpha
