"""What each process asks for at each step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mmcl.data.hashing import Int64Array
from mmcl.data.rows import BatchRequest
from mmcl.data.sampler import EpochPlan
from mmcl.data.stratified import StratifiedPlan


class BatchPlan(Protocol):
    """Says which rows each step needs."""

    def requests(self, start_step: int, rank: int, world_size: int) -> Iterator[BatchRequest]:
        """Yield the requests of one process from ``start_step`` on, without end."""
        ...

    def fingerprint(self) -> bytes:
        """Return bytes that change with what is drawn, as far as that is known before it is."""
        ...


@dataclass(frozen=True)
class IndexedPlan:
    """The batches of an indexed source.

    Attributes:
        positions: ``(N,)`` int64 positions in the source of the rows to learn from.
        epochs: which of them make up which batch.
        labels: ``(N,)`` int64 class indices of these rows, -1 where a row has no label; None without labels.
    """

    positions: Int64Array
    epochs: EpochPlan | StratifiedPlan
    labels: Int64Array | None = None

    def requests(self, start_step: int, rank: int, world_size: int) -> Iterator[BatchRequest]:
        """Yield what each step from ``start_step`` on needs of ``rank``, without end; no earlier row is read."""
        share = self.epochs.batch_size // world_size
        mine = slice(rank * share, (rank + 1) * share)
        passes = self.epochs.passes() if isinstance(self.epochs, StratifiedPlan) else None
        epoch, first = divmod(start_step, self.epochs.steps_per_epoch)
        while True:
            batches = self.epochs.epoch(epoch)
            for number in range(first, len(batches)):
                rows = batches[number, mine]
                yield BatchRequest(
                    epoch * len(batches) + number,
                    epoch,
                    self.positions[rows],
                    self.epochs.group_ids[rows],
                    None if self.labels is None else self.labels[rows],
                    passes=None if passes is None else passes[number, mine],
                )
            epoch, first = epoch + 1, 0

    def fingerprint(self) -> bytes:
        """Return a hash of the rows, their groups and their labels."""
        digest = hashlib.sha256(self.positions.tobytes())
        digest.update(self.epochs.group_ids.tobytes())
        if isinstance(self.epochs, StratifiedPlan):
            for stratum in self.epochs.strata[:-1]:  # which leave the last its rows
                digest.update(stratum.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.digest()
