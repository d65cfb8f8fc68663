"""Numbers that change over a run, as pure functions of the step, counted from 0."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from mmcl.recipe_fields import Fraction, NotNegative, Positive
from mmcl.section import Section


class Schedule(Section):
    """A number that goes from ``start`` to ``end`` over a run. Short form: a number, which stays as it is."""

    start: float
    """What it is at the first step."""
    end: float
    """What it comes to, and then stays."""
    shape: Literal["cosine", "linear"] = "cosine"
    """How it gets there: along half a cosine, slow at both ends, or evenly."""
    ramp_ratio: float = Field(default=1.0, gt=0, le=1)
    """Share of the run's steps that it takes to get there."""


class WeightSchedule(Schedule):
    """The weight of an objective, changing over a run."""

    start: NotNegative
    """Weight at the first step; 0 computes the objective without learning from it."""
    end: NotNegative
    """Weight that it comes to, and then stays at."""

    @model_validator(mode="after")
    def _counts_at_some_time(self) -> WeightSchedule:
        if self.start == self.end == 0:
            raise ValueError("start and end must not both be 0: the objective would never count")
        return self


class MomentumSchedule(Schedule):
    """The momentum of a moving average, changing over a run."""

    start: Fraction
    """Momentum at the first step."""
    end: Fraction
    """Momentum that it comes to, and then stays at; 1 stops the average."""


Scheduled = float | Schedule
ScheduledWeight = Positive | WeightSchedule
ScheduledMomentum = Fraction | MomentumSchedule


def value_at(scheduled: Scheduled, step: int, num_steps: int) -> float:
    """Return what a number is at ``step`` of ``num_steps``, counted from 0.

    With k the step, K = ``ramp_ratio * num_steps`` and a cosine it is ``end - (end - start) (cos(pi k / K) + 1) / 2``,
    which from 0.996 to 1 is BYOL's tau (arXiv:2006.07733, section 3.2) and from 0.99 to 1 MoCo v3's m; from step K on
    it is ``end``. A ramp over the whole run is thus just short of ``end`` at the last step.
    """
    if not isinstance(scheduled, Schedule):
        return scheduled
    start, end = scheduled.start, scheduled.end
    ramp_steps = scheduled.ramp_ratio * num_steps
    if step >= ramp_steps:
        return end
    if scheduled.shape == "linear":
        return start + (end - start) * step / ramp_steps
    return end - (end - start) * (math.cos(math.pi * step / ramp_steps) + 1) / 2


def lr_factor(
    step: int, num_steps: int, warmup_ratio: float, schedule: Literal["cosine", "linear", "constant"]
) -> float:
    """Return the factor on the peak learning rate at ``step``, counted from 0.

    Warm-up rises linearly over the first ``round(warmup_ratio * num_steps)`` steps and reaches 1 on the last of them;
    cosine and linear then fall towards 0, which they would reach at step ``num_steps``.
    """
    warmup_steps = round(warmup_ratio * num_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0 - progress if schedule == "linear" else 1.0
