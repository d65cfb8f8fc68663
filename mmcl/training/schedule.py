"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Literal


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
