"""Batches that all hold the same number of rows of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mmcl.data.hashing import Int64Array
from mmcl.data.sampler import shuffled
from mmcl.errors import UserError

# What the random numbers of the first stratum are for; each further one has the next, apart from those of the sampler.
_STRATA = 5


@dataclass(frozen=True)
class StratifiedPlan:
    """Draws global batches that all hold the same number of rows of each stratum.

    The rows of a stratum are drawn pass after pass, a pass being each of them once in a new order, as often as it
    takes; a batch never holds a row twice. Each epoch starts all of them anew. A stratum stands at the same places of
    every batch, spread so evenly that any number of processes that divides ``batch_size`` and all of ``per_batch`` gets
    the same share of it when the batch is cut into that many parts.

    Attributes:
        group_ids: ``(N,)`` int64 group of every row.
        strata: ``(N,)`` bool for each stratum: its rows; every row is of one.
        per_batch: rows of each stratum in a batch.
        seed: of the order.
        steps_per_epoch: batches in one epoch.
    """

    group_ids: Int64Array
    strata: tuple[NDArray[np.bool_], ...]
    per_batch: tuple[int, ...]
    seed: int
    steps_per_epoch: int

    @classmethod
    def build(
        cls,
        group_ids: Int64Array,
        strata: Sequence[NDArray[np.bool_]],
        per_batch: Sequence[int],
        seed: int,
        has_say: Sequence[bool] | None = None,
    ) -> StratifiedPlan:
        """Make the plan. An epoch has as many batches as the stratum fills that fills most: it is drawn once, and the
        others over and over.

        Args:
            group_ids: ``(N,)`` int64 group of every row.
            strata: ``(N,)`` bool for each stratum.
            per_batch: rows of each in a batch; no more than it has.
            seed: of the order.
            has_say: which strata the length of an epoch goes by; by default all.
        """
        counts = zip(strata, per_batch, has_say or [True] * len(strata), strict=True)
        steps = max(int(chosen.sum()) // number for chosen, number, counted in counts if number and counted)
        return cls(group_ids, tuple(strata), tuple(per_batch), seed, steps)

    @classmethod
    def paired(
        cls, group_ids: Int64Array, is_complete: NDArray[np.bool_], batch_size: int, paired_per_batch: int, seed: int
    ) -> StratifiedPlan:
        """Plan batches of a fixed number of complete rows, those that have every part; the others are the rest.

        Args:
            group_ids: ``(N,)`` int64 group of every row.
            is_complete: ``(N,)`` bool.
            batch_size: rows per batch, over all processes.
            paired_per_batch: complete rows among them.
            seed: of the order.

        Raises:
            UserError: there are fewer rows of either kind than a batch is to hold of it.
        """
        num_complete, num_others = int(is_complete.sum()), int((~is_complete).sum())
        others_per_batch = batch_size - paired_per_batch
        if others_per_batch < 0:
            raise UserError(f"data.paired_per_batch: {paired_per_batch:,} is more than batch_size, {batch_size:,}")
        if paired_per_batch > num_complete:
            raise UserError(
                f"data.paired_per_batch: {paired_per_batch:,} is more than the {num_complete:,} training rows that "
                "have all that any objective needs"
            )
        if others_per_batch > num_others:
            raise UserError(
                f"data.paired_per_batch: {paired_per_batch:,} leaves {others_per_batch:,} of batch_size {batch_size:,} "
                f"to the rows that lack something, of which there are {num_others:,}; set another, or leave it out"
            )
        return cls.build(group_ids, (is_complete, ~is_complete), (paired_per_batch, others_per_batch), seed)

    @property
    def batch_size(self) -> int:
        """Rows per batch, over all processes."""
        return sum(self.per_batch)

    @property
    def num_drawn(self) -> int:
        """Different rows drawn in one epoch."""
        counts = zip(self.strata, self.per_batch, strict=True)
        return sum(min(self.steps_per_epoch * per_batch, int(chosen.sum())) for chosen, per_batch in counts)

    def epoch(self, epoch: int) -> Int64Array:
        """Return the rows of one epoch: ``(steps_per_epoch, batch_size)`` int64 indices into ``group_ids``."""
        batches = np.empty((self.steps_per_epoch, self.batch_size), dtype=np.int64)
        for number, (chosen, places) in enumerate(zip(self.strata, self._places(), strict=True)):
            rows = np.flatnonzero(chosen)
            keys = (self.seed, epoch, _STRATA + number)
            batches[:, places] = rows[_pass_after_pass(len(rows), self.steps_per_epoch, len(places), *keys)]
        return batches

    def passes(self) -> Int64Array:
        """Return how often each row that is drawn was drawn before in the epoch: int64 in the shape of `epoch`."""
        passes = np.empty((self.steps_per_epoch, self.batch_size), dtype=np.int64)
        for chosen, places in zip(self.strata, self._places(), strict=True):
            drawn = np.arange(self.steps_per_epoch * len(places)).reshape(self.steps_per_epoch, -1)
            passes[:, places] = drawn // max(int(chosen.sum()), 1)
        return passes

    def _places(self) -> list[Int64Array]:
        """Return the places of each stratum in a batch: spread over those that the strata before it have left."""
        free, places = np.arange(self.batch_size), []
        for per_batch in self.per_batch:
            ends = np.arange(len(free) + 1) * per_batch // max(len(free), 1)
            is_taken = ends[1:] > ends[:-1]
            places.append(free[is_taken])
            free = free[~is_taken]
        return places


def shares_of(weights: Sequence[float], batch_size: int) -> tuple[int, ...]:
    """Return how many rows of a batch each weight comes to: whole numbers, as near as they can be, that sum to it.

    What is left after rounding down goes to those that lost most by it, the first of equals.
    """
    exact = [Fraction(weight) * batch_size / sum(map(Fraction, weights)) for weight in weights]
    shares = [int(share) for share in exact]
    by_loss = sorted(range(len(exact)), key=lambda number: (shares[number] - exact[number], number))
    for number in by_loss[: batch_size - sum(shares)]:
        shares[number] += 1
    return tuple(shares)


def _pass_after_pass(num_rows: int, steps: int, per_step: int, *keys: int) -> Int64Array:
    """Return ``(steps, per_step)`` rows of ``0 .. num_rows - 1``, each pass over them in an order of its own.

    Where a pass ends within a step, the next begins with rows that are not in that step yet.
    """
    passes: list[Int64Array] = []
    for number in range(-(-steps * per_step // num_rows) if num_rows else 0):
        fresh = shuffled(num_rows, *keys, number)
        if begun := number * num_rows % per_step:
            # These are all of the pass before, which has as many rows as a step at least.
            is_free = ~np.isin(fresh, passes[-1][num_rows - begun :])
            first = np.flatnonzero(is_free)[: per_step - begun]
            fresh = np.concatenate([fresh[first], np.delete(fresh, first)])
        passes.append(fresh)
    drawn = np.concatenate([np.empty(0, dtype=np.int64), *passes])
    return drawn[: steps * per_step].reshape(steps, per_step)
