"""How a run shows itself in a terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mmcl.training.observer import Observer

PLAIN_INTERVAL_S = 15.0


class TerminalObserver(Observer):
    """A progress bar in a terminal, a line every 15 seconds elsewhere; messages as plain lines.

    Args:
        console: where to write.
        is_quiet: write nothing, on another process than the main one.
    """

    def __init__(self, console: Console, is_quiet: bool = False) -> None:
        self.console = console
        self.is_quiet = is_quiet
        self._progress: Progress | None = None
        self._task: Any = None
        self._last_line_s = float("-inf")
        self._num_steps = 0

    def started(self, step: int, num_steps: int) -> None:
        self._num_steps = num_steps
        if self.is_quiet or not self.console.is_terminal:
            return
        columns = (
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self.console)
        self._progress.start()
        self._task = self._progress.add_task("", total=num_steps, completed=step, facts="")

    def stepped(self, record: dict[str, Any]) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=record["step"], facts=_facts(record))
            return
        now = time.monotonic()
        is_last = record["step"] == self._num_steps
        if is_last or (now - self._last_line_s >= PLAIN_INTERVAL_S):
            self._last_line_s = now
            self.message(f"step {record['step']}/{self._num_steps}  {_facts(record)}")

    def message(self, text: str) -> None:
        if not self.is_quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finished(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class PictureProgress:
    """A progress bar of the pictures that are read, in a terminal; nothing elsewhere.

    It is called with how many have been read, and of how many.
    """

    def __init__(self) -> None:
        columns = (TextColumn("pictures {task.completed}/{task.total}"), BarColumn(bar_width=24), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task: Any = None

    def __enter__(self) -> PictureProgress:
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress.console.is_terminal:
            self._progress.stop()

    def __call__(self, num_read: int, num_pictures: int) -> None:
        if self._task is None:
            self._task = self._progress.add_task("", total=num_pictures)
        self._progress.update(self._task, completed=num_read)


def _facts(record: dict[str, Any]) -> str:
    loss = f"loss {record['loss']:.3f}"
    if record["chance"] is not None:
        loss += f" (chance {record['chance']:.2f})"
    if record["step"] == 1:
        # The first step's time is that of getting under way.
        return loss
    return f"{loss}  {record['samples_per_second']:.0f} samples/s  data wait {record['data_wait']:.0%}"
