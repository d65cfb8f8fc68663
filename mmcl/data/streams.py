"""Which rows of a stream make up which batch: shuffled within a buffer, the same in every process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcl.data.cells import cell_of
from mmcl.data.hashing import mix
from mmcl.data.labels import UNKNOWN, class_index
from mmcl.data.needs import RowNeeds
from mmcl.data.quarantine import QuarantineRecord
from mmcl.data.row_reader import RowReader
from mmcl.data.rows import BatchRequest
from mmcl.data.sampler import shuffled
from mmcl.data.scan import group_of
from mmcl.data.sources import Source, reading
from mmcl.errors import UserError

_REPLACE, _REST = 21, 22


@dataclass(frozen=True)
class _StreamRow:
    position: int
    group: int
    label: int
    cells: Mapping[str, Any]


class _Passed:
    """Rows that were passed over since they were last asked for."""

    def __init__(self) -> None:
        self.records: list[QuarantineRecord] = []

    def take(self) -> tuple[QuarantineRecord, ...]:
        records, self.records = tuple(self.records), []
        return records


@dataclass(frozen=True)
class StreamPlan:
    """Draws the global batches of a stream, epoch after epoch; each epoch's incomplete last batch is dropped.

    Every process reads the whole stream and keeps its own part of each batch, so that the order depends on neither
    processes nor workers. A row is read without decoding its picture; going on from a later step reads and passes over
    what lies before.

    Attributes:
        source: a stream.
        reader: of its rows.
        needs: what makes a row usable.
        batch_size: rows per batch, over all processes.
        seed: of the order.
        shuffle_buffer: rows held; each row that comes takes the place of a random one of them, which is given out.
        unique_groups: no group occurs twice in a batch; rows wait for the next batch.
    """

    source: Source
    reader: RowReader
    needs: RowNeeds
    batch_size: int
    seed: int
    shuffle_buffer: int
    unique_groups: bool

    def requests(self, start_step: int, rank: int, world_size: int) -> Iterator[BatchRequest]:
        """Yield what each step from ``start_step`` on needs of ``rank``, without end.

        Raises:
            UserError: an epoch does not fill one batch, or a row cannot be read.
        """
        share = self.batch_size // world_size
        mine = slice(rank * share, (rank + 1) * share)
        has_labels = self.reader.roles.label_names is not None
        step, epoch, passed = 0, 0, _Passed()
        while True:
            first = step
            for rows in self._batches(epoch, passed):
                left_out = passed.take()
                if step >= start_step:
                    yield _request(step, epoch, rows[mine], left_out if rank == 0 else (), has_labels)
                step += 1
            if step == first:
                raise UserError(
                    f"batch_size: {self.source.name} does not fill one batch of {self.batch_size:,}; "
                    "set a smaller batch_size, or give more data"
                )
            epoch += 1

    def _batches(self, epoch: int, passed: _Passed) -> Iterator[list[_StreamRow]]:
        rows = self._shuffled(epoch, passed)
        return (
            _with_unique_groups(rows, self.batch_size, self.shuffle_buffer) if self.unique_groups else self._cut(rows)
        )

    def _cut(self, rows: Iterator[_StreamRow]) -> Iterator[list[_StreamRow]]:
        batch: list[_StreamRow] = []
        for row in rows:
            batch.append(row)
            if len(batch) == self.batch_size:
                yield batch
                batch = []

    def _shuffled(self, epoch: int, passed: _Passed) -> Iterator[_StreamRow]:
        buffer: list[_StreamRow] = []
        for number, row in enumerate(self._usable(epoch, passed)):
            if len(buffer) < self.shuffle_buffer:
                buffer.append(row)
                continue
            place = mix(self.seed, epoch, _REPLACE, number) % len(buffer)
            buffer[place], row = row, buffer[place]
            yield row
        yield from (buffer[place] for place in shuffled(len(buffer), self.seed, epoch, _REST).tolist())

    def fingerprint(self) -> bytes:
        """Return nothing: what a stream holds is not known before it is read."""
        return b""

    def _usable(self, epoch: int, passed: _Passed) -> Iterator[_StreamRow]:
        roles, wanted = self.reader.roles, frozenset().union(*self.needs.wanted)
        with reading(self.source.key, self.source.name, "a stream"):
            for position, cells in enumerate(self.source.dataset):
                has, wrong = self.reader.parts_of(cells)
                if not self.needs.is_usable(has):
                    reason = "; ".join(reason for part, reason in wrong.items() if part in wanted)
                    passed.records.append(QuarantineRecord(position, epoch, reason, source=self.source.name))
                    continue
                label = UNKNOWN if roles.label_names is None else class_index(cells[roles.label], roles)
                captions, groups = roles.column_of("text.0"), roles.group
                group = group_of(cell_of(cells, captions), cell_of(cells, groups), position, roles)
                yield _StreamRow(position, group, label, cells)


def _with_unique_groups(rows: Iterator[_StreamRow], batch_size: int, most: int) -> Iterator[list[_StreamRow]]:
    """Fill batches in order; a row whose group is in the batch already waits, and goes first into the next."""
    waiting: deque[_StreamRow] = deque()
    while True:
        batch: dict[int, _StreamRow] = {}
        for _ in range(len(waiting)):
            row = waiting.popleft()
            if row.group in batch or len(batch) == batch_size:
                waiting.append(row)
            else:
                batch[row.group] = row
        while len(batch) < batch_size:
            fresh = next(rows, None)
            if fresh is None:
                return
            if fresh.group in batch:
                waiting.append(fresh)
            else:
                batch[fresh.group] = fresh
            if len(waiting) > most:
                raise UserError(
                    f"data.unique_groups: more than {most:,} rows wait for a batch that has not their group yet; "
                    f"the stream has too few groups for a batch_size of {batch_size:,}, or comes sorted by group"
                )
        yield list(batch.values())


def _request(
    step: int, epoch: int, rows: list[_StreamRow], left_out: tuple[QuarantineRecord, ...], has_labels: bool
) -> BatchRequest:
    return BatchRequest(
        step,
        epoch,
        np.array([row.position for row in rows], dtype=np.int64),
        np.array([row.group for row in rows], dtype=np.int64),
        labels=np.array([row.label for row in rows], dtype=np.int64) if has_labels else None,
        rows=[row.cells for row in rows],
        left_out=left_out,
    )
