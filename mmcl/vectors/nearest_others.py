"""The candidates that an anchor is nearest to and that are not its own: exact, in blocks, without the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmcl.data.hashing import Int64Array
from mmcl.errors import UserError
from mmcl.vectors.stored import Vectors

NONE = -1
"""Where there is no candidate."""

# Anchors and candidates whose scores are held at once: 64 MiB.
_ANCHORS, _CANDIDATES = 1_024, 16_384


@dataclass(frozen=True)
class Choice:
    """Which of the candidates of other groups are taken, hardest first.

    Attributes:
        num_negatives: of each anchor, at the most.
        margin: a candidate that scores above the positive less this is dropped, for it is likely true; None drops none.
        relative_margin: the same, as a share of the positive's score.
        range_min: so many of the nearest candidates are passed over.
        range_max: no more than so many of the nearest candidates are looked at.

    Raises:
        UserError: numbers that cannot be, or both margins.
    """

    num_negatives: int = 3
    margin: float | None = None
    relative_margin: float | None = 0.05
    range_min: int = 0
    range_max: int = 100

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise UserError(f"--num-negatives must be >= 1, got {self.num_negatives}")
        if self.margin is not None and self.relative_margin is not None:
            raise UserError("--margin and --relative-margin are two ways to say one thing; give one of them")
        for name, margin in (("margin", self.margin), ("relative-margin", self.relative_margin)):
            if margin is not None and not margin >= 0:
                raise UserError(f"--{name} must be >= 0, got {margin}")
        if self.range_min < 0:
            raise UserError(f"--range-min must be >= 0, got {self.range_min}")
        if self.range_max < self.range_min + self.num_negatives:
            raise UserError(
                f"--range-max must leave room for {self.num_negatives} negatives from {self.range_min} on, got "
                f"{self.range_max}"
            )

    def highest(self, positives: Tensor) -> Tensor:
        """Return the highest scores that are not too near to those of the positives."""
        if self.margin is not None:
            return positives - self.margin
        if self.relative_margin is not None:
            return positives - self.relative_margin * positives.abs()
        return torch.full_like(positives, torch.inf)


@dataclass(frozen=True)
class Own:
    """The candidates that are an anchor's own, and those of its group.

    Attributes:
        candidates: ``(P,)`` int64, group after group.
        starts: ``(A,)`` int64, where those of an anchor's group begin.
        stops: ``(A,)`` int64, where they end.
    """

    candidates: Int64Array
    starts: Int64Array
    stops: Int64Array

    def pairs(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return the anchors from ``start`` up to ``stop``, counted from ``start``, and their own candidates."""
        starts, counts = self.starts[start:stop], (self.stops - self.starts)[start:stop]
        rows = np.repeat(np.arange(len(starts)), counts)
        places = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts) + np.repeat(starts, counts)
        return torch.from_numpy(rows), torch.from_numpy(self.candidates[places])


@dataclass(frozen=True)
class Negatives:
    """What was found.

    Attributes:
        candidates: ``(A, K)`` int64, hardest first, `NONE` behind the last.
        num_of_group: candidates that were passed over because they are of the anchor's group, though near enough.
        num_too_near: candidates that were dropped by the margin.
    """

    candidates: Int64Array
    num_of_group: int
    num_too_near: int


def find_negatives(anchors: Vectors, positives: Vectors, candidates: Vectors, own: Own, choice: Choice) -> Negatives:
    """Find the hardest negatives of every anchor.

    Args:
        anchors: ``(A, D)`` unit norm.
        positives: ``(A,)`` float32, each anchor's score with its positive.
        candidates: ``(C, D)`` unit norm.
        own: the candidates that are no negatives of an anchor.
        choice: which of the others to take.

    Returns:
        The exact answer; memory is bounded by blocks of scores and ``range_max`` candidates of a block's anchors.
    """
    columns = torch.from_numpy(candidates)
    found, num_of_group, num_too_near = [], 0, 0
    for rows, nearest, places, num_passed in _nearest(torch.from_numpy(anchors), columns, own, choice.range_max):
        nearest, places = nearest[:, choice.range_min :], places[:, choice.range_min :]
        is_there = nearest > -torch.inf
        is_taken = is_there & (nearest <= choice.highest(torch.from_numpy(positives[rows]))[:, None])
        order = (~is_taken).to(torch.int8).argsort(dim=1, stable=True)[:, : choice.num_negatives]
        found.append(places.masked_fill(~is_taken, NONE).gather(1, order))
        num_of_group += num_passed
        num_too_near += int((is_there & ~is_taken).sum())
    return Negatives(torch.cat(found).numpy(), num_of_group, num_too_near)


def _nearest(anchors: Tensor, candidates: Tensor, own: Own, k: int) -> Iterator[tuple[slice, Tensor, Tensor, int]]:
    """Yield for each block of anchors its ``(n, k)`` highest scores, where they are, how many own ones are as high."""
    k = min(k, len(candidates))
    for start in range(0, len(anchors), _ANCHORS):
        rows = slice(start, min(start + _ANCHORS, len(anchors)))
        own_rows, own_columns = own.pairs(rows.start, rows.stop)
        own_scores = torch.empty(len(own_rows))
        nearest = torch.full((rows.stop - rows.start, k), -torch.inf)
        places = torch.full_like(nearest, NONE, dtype=torch.int64)
        for first in range(0, len(candidates), _CANDIDATES):
            scores = anchors[rows] @ candidates[first : first + _CANDIDATES].T
            inside = ((own_columns >= first) & (own_columns < first + scores.shape[1])).nonzero()[:, 0]
            at = (own_rows[inside], own_columns[inside] - first)
            own_scores[inside] = scores[at]
            scores[at] = -torch.inf
            here = torch.arange(first, first + scores.shape[1]).expand_as(scores)
            nearest, chosen = torch.cat([nearest, scores], dim=1).topk(k)
            places = torch.cat([places, here], dim=1).gather(1, chosen)
        yield rows, nearest, places, int((own_scores >= nearest[own_rows, -1]).sum())
