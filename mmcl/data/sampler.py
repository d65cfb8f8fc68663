"""Which rows make up which batch: a pure function of (seed, epoch, position)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcl.data.hashing import Int64Array, mix_array
from mmcl.errors import UserError

# What a random number is for; different purposes must not share numbers.
_ROWS, _GROUPS, _SLOTS, _PLACES = 1, 2, 3, 4


@dataclass(frozen=True)
class EpochPlan:
    """Draws the global batches of every epoch; the incomplete last batch is dropped.

    The order depends on the rows, the seed and the epoch, and on nothing else: not on workers, processes, or what was
    drawn before. Every epoch has the same number of batches, so step ``s`` is batch ``s % steps_per_epoch`` of epoch
    ``s // steps_per_epoch``.

    Attributes:
        group_ids: ``(N,)`` int64 group of every row.
        batch_size: rows per batch, over all processes.
        seed: of the order.
        unique_groups: no group occurs twice in a batch. As many batches are made as can be, which is fewer than
            ``N // batch_size`` when some groups hold more rows than there are batches; of those groups each epoch draws
            other rows.
        steps_per_epoch: batches in one epoch.
    """

    group_ids: Int64Array
    batch_size: int
    seed: int
    unique_groups: bool
    steps_per_epoch: int

    @classmethod
    def build(cls, group_ids: Int64Array, batch_size: int, seed: int, unique_groups: bool) -> EpochPlan:
        """Make the plan.

        Raises:
            UserError: there are fewer rows, or with ``unique_groups`` fewer groups, than ``batch_size``.
        """
        num_rows = len(group_ids)
        if num_rows < batch_size:
            raise UserError(
                f"batch_size: {batch_size:,} is more than the {num_rows:,} training rows; "
                f"set batch_size to {num_rows:,} or less, or give more data"
            )
        sizes = np.unique(group_ids, return_counts=True)[1]
        if unique_groups and len(sizes) < batch_size:
            raise UserError(
                f"batch_size: {batch_size:,} is more than the {len(sizes):,} groups of the training rows, and "
                f"data.unique_groups allows each of them once per batch; set batch_size to {len(sizes):,} or less, "
                "or data.unique_groups to false"
            )
        steps = _most_unique_batches(sizes, batch_size) if unique_groups else num_rows // batch_size
        return cls(group_ids, batch_size, seed, unique_groups, steps)

    @property
    def num_drawn(self) -> int:
        """Rows drawn in one epoch."""
        return self.steps_per_epoch * self.batch_size

    def epoch(self, epoch: int) -> Int64Array:
        """Return the rows of one epoch: ``(steps_per_epoch, batch_size)`` int64 indices into ``group_ids``."""
        if self.unique_groups:
            return _unique_batches(self.group_ids, self.steps_per_epoch, self.batch_size, self.seed, epoch)
        order = shuffled(len(self.group_ids), self.seed, epoch)
        return order[: self.num_drawn].reshape(self.steps_per_epoch, self.batch_size)


def shuffled(num_rows: int, *keys: int) -> Int64Array:
    """Return ``0 .. num_rows - 1`` as int64 in an order that only the ``keys`` decide."""
    return np.argsort(mix_array(np.arange(num_rows), *keys, _ROWS), kind="stable")


def _most_unique_batches(group_sizes: Int64Array, batch_size: int) -> int:
    """Return the largest K for which K batches without a repeated group exist.

    A group can give each batch one row, so K batches use at most ``min(size, K)`` rows of it; they exist exactly when
    those sum to ``K * batch_size`` or more (McNaughton's wrap-around argument, which `_unique_batches` carries out).
    """
    low, high = 1, int(group_sizes.sum()) // batch_size
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(group_sizes, middle).sum()) >= middle * batch_size:
            low = middle
        else:
            high = middle - 1
    return low


def _unique_batches(group_ids: Int64Array, steps: int, batch_size: int, seed: int, epoch: int) -> Int64Array:
    """Deal the rows, group after group in random order, to the batches in rounds of one row for each batch.

    A group has at most ``steps`` rows left, so it meets a batch twice only where its rows straddle two rounds. There
    the second round gives it the batches that the first did not. Each round deals in another random order, so that two
    groups meet as often as chance would have it. Linear but for the sorting.
    """
    rows, groups = _rows_by_group(group_ids, steps, seed, epoch)
    rows, groups = rows[: steps * batch_size], groups[: steps * batch_size]
    batches = np.empty((steps, batch_size), dtype=np.int64)
    taken = np.empty(0, dtype=np.int64)  # batches that the last group of the round before already has a row in
    for place in range(batch_size):
        start, stop = place * steps, (place + 1) * steps
        slots = shuffled(steps, seed, epoch, _SLOTS, place)
        if len(taken) and groups[start] == groups[start - 1]:
            is_taken = np.zeros(steps, dtype=bool)
            is_taken[taken] = True
            num_head = int((groups[start:stop] == groups[start]).sum())
            free = slots[~is_taken[slots]][:num_head]
            is_head = np.zeros(steps, dtype=bool)
            is_head[free] = True
            slots = np.concatenate([free, slots[~is_head[slots]]])
        batches[slots, place] = rows[start:stop]
        taken = slots[groups[start:stop] == groups[stop - 1]]
    places = np.argsort(mix_array(batches, seed, epoch, _PLACES), axis=1, kind="stable")
    return np.take_along_axis(batches, places, axis=1)


def _rows_by_group(group_ids: Int64Array, most: int, seed: int, epoch: int) -> tuple[Int64Array, Int64Array]:
    """Return rows and their groups: groups in random order, each with ``most`` of its rows at most, in random order."""
    row_keys = mix_array(np.arange(len(group_ids)), seed, epoch, _ROWS)
    group_keys = mix_array(group_ids, seed, epoch, _GROUPS)
    order = np.lexsort((row_keys, group_keys))
    keys = group_keys[order]
    is_first = np.concatenate([[True], keys[1:] != keys[:-1]])
    starts = np.flatnonzero(is_first)
    rank = np.arange(len(keys)) - starts[np.cumsum(is_first) - 1]
    order = order[rank < most]
    return order, group_ids[order]
