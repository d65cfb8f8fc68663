"""What to do where training waits for its data."""

from __future__ import annotations

import os
from collections.abc import Callable

MOST_WAIT = 0.1
"""Share of a run's time that may be spent waiting."""
MIN_STEPS = 20
"""Steps before anything is said; the first, in which workers start, does not count."""
MIN_WAIT_S = 5.0
"""Less is not worth a line."""
MOST_WORKERS = 16
"""More of them hold more batches in memory than they bring."""


class DataWait:
    """Adds up how long the steps wait for their batches, and says once when that is too long.

    Args:
        num_workers: the recipe's ``data.num_workers``.
        image_size: side in pixels of what the image tower takes; None without one.
        tell: called with the line.
    """

    def __init__(self, num_workers: int, image_size: int | None, tell: Callable[[str], None]) -> None:
        self.num_workers, self.image_size, self.tell = num_workers, image_size, tell
        self._num_steps = 0
        self._waited_s = self._spent_s = 0.0
        self._is_told = False

    def observe(self, waited_s: float, spent_s: float) -> None:
        """Take note of a step: the seconds that it took, and those of them until its batch was there."""
        self._num_steps += 1
        if self._num_steps == 1:
            return
        self._waited_s += waited_s
        self._spent_s += spent_s
        if not self._is_told and (advice := self.advice()):
            self._is_told = True
            self.tell(f"warning: {advice}")

    def advice(self) -> str | None:
        """Return the share of the time so far and what would lower it; None where it is small."""
        if self._num_steps < MIN_STEPS or self._waited_s < max(MIN_WAIT_S, MOST_WAIT * self._spent_s):
            return None
        return f"{self._waited_s / self._spent_s:.0%} of training is waiting for data: {self._way_out()}"

    def _way_out(self) -> str:
        most = min(num_cores(), MOST_WORKERS)
        if self.num_workers < most:
            return f"set data.num_workers={most}, now {self.num_workers}"
        if self.image_size is None:
            return f"{self.num_workers} workers do not keep up; read from a faster disk"
        return (
            f"{self.num_workers} workers do not keep up; save the pictures with a shorter side of {2 * self.image_size}"
            f" pixels (the model takes {self.image_size}), or read them from a faster disk"
        )


def num_cores() -> int:
    """Return the processor cores that each training process of this machine has."""
    of_all = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, of_all // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
