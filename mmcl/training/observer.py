"""Who is told what a run does. The library itself never prints."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("mmcl")


class Observer:
    """Receives a run's events on the main process; this one writes messages to the ``mmcl`` logger."""

    def started(self, step: int, num_steps: int) -> None:
        """Training begins or goes on after ``step`` of ``num_steps`` steps."""

    def stepped(self, record: dict[str, Any]) -> None:
        """A step is done; ``record`` is what a line of ``metrics.jsonl`` would say of it."""

    def message(self, text: str) -> None:
        """Something the user should know, in one line."""
        logger.info(text)

    def finished(self) -> None:
        """Training has ended, in whatever way."""
