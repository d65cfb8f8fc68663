"""Rows that could not be used: written down with the reason, counted, and too many of them stop the run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmcl.errors import UserError

FILE_NAME = "quarantine.jsonl"

_FIRST_ROWS = 1_000
"""The rate is taken over at least so many rows (or an epoch, if shorter), so that one bad row among the first few does
not stop a run."""


@dataclass(frozen=True)
class QuarantineRecord:
    """One row that was left out.

    Attributes:
        sample_id: the row's position in its source.
        epoch: the pass in which it was met, from 0; None for a row left out before training or of the held-out rows.
        reason: what is wrong with it, in words.
        path: the picture's file, where it has one.
        source: the data set that the row is from.
    """

    sample_id: int
    epoch: int | None
    reason: str
    path: str | None = None
    source: str | None = None


class Quarantine:
    """Collects the records of one process.

    Records are appended to ``<folder>/quarantine.jsonl`` as they come, one write per line, so that several processes
    share the file and a crash loses none. A resumed run may write a row that it meets again a second time.

    Args:
        max_unreadable: share of the rows seen, 0 to 1, above which `add` and `hold` raise.
        rows_per_epoch: rows in one pass, None when unknown.

    Attributes:
        path: the file; None only counts.
        num_quarantined: rows left out.
        num_seen: rows looked at.
    """

    def __init__(self, max_unreadable: float, rows_per_epoch: int | None = None) -> None:
        self.path: Path | None = None
        self.max_unreadable = max_unreadable
        self.rows_per_epoch = rows_per_epoch
        self.num_quarantined = 0
        self.num_seen = 0
        self._held: list[QuarantineRecord] = []

    def write_to(self, folder: Path) -> None:
        """Write to ``quarantine.jsonl`` in the run's folder from now on."""
        self.path = folder / FILE_NAME

    def hold(self, records: Sequence[QuarantineRecord], num_seen: int) -> None:
        """Check the rows that every process finds before training; they are counted apart, and written by `open`.

        The share is taken over the rows of an epoch, up to 1,000, where fewer were seen: one bad picture among a
        handful of held-out rows stops no run.

        Raises:
            UserError: more than ``max_unreadable`` of them were left out.
        """
        self._held.extend(records)
        if len(records) > self.max_unreadable * max(num_seen, min(_FIRST_ROWS, self.rows_per_epoch or 0)):
            raise UserError(self._too_many(len(records), num_seen, records[-1]))

    def open(self, is_first_process: bool, is_resumed: bool) -> None:
        """Write what was held: by one process, and once in a run's life."""
        if is_first_process and not is_resumed:
            self._append(self._held)
        self._held = []

    def add(self, records: Sequence[QuarantineRecord], num_seen: int) -> None:
        """Count ``num_seen`` more rows, of which ``records`` were left out, write those, and check the rate.

        Raises:
            UserError: more than ``max_unreadable`` of the rows seen were left out.
        """
        self.num_seen += num_seen
        self.num_quarantined += len(records)
        if records:
            self._append(records)
            self._check(records[-1])

    def _append(self, records: Sequence[QuarantineRecord]) -> None:
        if self.path is None or not records:
            return
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            for record in records:
                os.write(descriptor, (json.dumps(_as_json(record), ensure_ascii=False) + "\n").encode())
        finally:
            os.close(descriptor)

    def _check(self, last: QuarantineRecord) -> None:
        num_rows = max(self.num_seen, min(_FIRST_ROWS, self.rows_per_epoch or _FIRST_ROWS))
        if self.num_quarantined > self.max_unreadable * num_rows:
            raise UserError(self._too_many(self.num_quarantined, self.num_seen, last))

    def _too_many(self, num_quarantined: int, num_seen: int, last: QuarantineRecord) -> str:
        name = "" if last.source is None else f" of {last.source}"
        where = "" if self.path is None else f"; all are in {self.path}"
        return (
            f"data.max_unreadable: {num_quarantined:,} of {num_seen:,} rows cannot be used, "
            f"more than the {self.max_unreadable:.2%} allowed. The last is row {last.sample_id}{name}: "
            f"{last.reason}{where}"
        )


def _as_json(record: QuarantineRecord) -> dict[str, Any]:
    return {key: value for key, value in asdict(record).items() if key == "epoch" or value is not None}
