"""Which entries of a score matrix are special, asked for tile by tile.

Excluded entries and positives are rare in a contrastive batch (an anchor and itself, duplicates), so most tiles have
none, and that is found out without looking at the tile's entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Protocol

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]


class Marks(Protocol):
    """Some entries of an ``(n, m)`` matrix."""

    def mask(self, rows: slice, cols: slice, device: torch.device) -> Tensor | None:
        """Return the tile's marks, bool on that device, or None when it has none. Slices have a start and a stop."""
        ...

    def covers(self, rows: slice, cols: slice) -> bool:
        """Return True when the whole tile is known to be marked; False says nothing."""
        ...


class GroupMarks:
    """Marks the diagonal, and the entries of equal group but different class.

    Args:
        diagonal: the entry ``(i, i + diagonal)`` of every row is marked; None marks no diagonal.
        row_groups: ``(n,)`` int64; None marks the diagonal alone.
        col_groups: ``(m,)`` int64.
        row_classes: ``(n,)`` int64.
        col_classes: ``(m,)`` int64.
    """

    def __init__(
        self,
        diagonal: int | None,
        row_groups: Tensor | None = None,
        col_groups: Tensor | None = None,
        row_classes: Tensor | None = None,
        col_classes: Tensor | None = None,
    ) -> None:
        self._diagonal = diagonal
        self._has_mixed = False
        if row_groups is None or col_groups is None or row_classes is None or col_classes is None:
            return
        # Only a group of more than one class can mark anything. Usually there is none, and tiles cost nothing.
        classes = torch.cat([row_classes, col_classes])
        names, group = torch.unique(torch.cat([row_groups, col_groups]), return_inverse=True)
        lowest = classes.new_zeros(len(names)).scatter_reduce_(0, group, classes, "amin", include_self=False)
        highest = classes.new_zeros(len(names)).scatter_reduce_(0, group, classes, "amax", include_self=False)
        self._is_mixed = (lowest != highest)[group[: len(row_groups)]]
        self._has_mixed = bool(self._is_mixed.any())
        self._row_groups, self._col_groups = group[: len(row_groups)], group[len(row_groups) :]
        self._row_classes, self._col_classes = row_classes, col_classes

    def mask(self, rows: slice, cols: slice, device: torch.device) -> Tensor | None:
        mask = self._group_mask(rows, cols) if self._has_mixed else None
        if self._diagonal is None:
            return mask
        first, last = max(rows.start + self._diagonal, cols.start), min(rows.stop + self._diagonal, cols.stop)
        if first >= last:
            return mask
        if mask is None:
            mask = torch.zeros(rows.stop - rows.start, cols.stop - cols.start, dtype=torch.bool, device=device)
        own = torch.arange(first, last, device=mask.device)
        mask[own - self._diagonal - rows.start, own - cols.start] = True
        return mask

    def _group_mask(self, rows: slice, cols: slice) -> Tensor | None:
        mixed = self._is_mixed[rows].nonzero().squeeze(1)
        if len(mixed) == 0:
            return None
        marked = self._row_groups[rows][mixed, None] == self._col_groups[None, cols]
        if not marked.any():
            return None
        marked &= self._row_classes[rows][mixed, None] != self._col_classes[None, cols]
        mask = torch.zeros(rows.stop - rows.start, cols.stop - cols.start, dtype=torch.bool, device=marked.device)
        mask[mixed] = marked
        return mask

    def covers(self, rows: slice, cols: slice) -> bool:
        return False


class AnyMarks:
    """Marks what one of several marks does.

    Args:
        marks: of one matrix.
    """

    def __init__(self, marks: Sequence[Marks]) -> None:
        self._marks = tuple(marks)

    def mask(self, rows: slice, cols: slice, device: torch.device) -> Tensor | None:
        masks = [found for one in self._marks if (found := one.mask(rows, cols, device)) is not None]
        return torch.stack(masks).any(dim=0) if len(masks) > 1 else masks[0] if masks else None

    def covers(self, rows: slice, cols: slice) -> bool:
        return any(one.covers(rows, cols) for one in self._marks)


def left_out_marks(
    classes: Pair, groups: tuple[Tensor | None, Tensor | None], texts: tuple[Tensor | None, Tensor | None]
) -> Marks | None:
    """Mark the entries whose row and column are of one group, or share a text, but are not of one class.

    Sharing goes no further than the two: where a row shares a text with a second, and that another one with a third,
    the first and the third are not marked.

    Args:
        classes: ``(n,)`` and ``(m,)`` int64, of rows and columns.
        groups: ``(n,)`` and ``(m,)`` int64 ids, negative for none; where one is None no group is shared.
        texts: ``(n, V)`` and ``(m, U)`` int64 ids of the texts of each, negative for none; where one is None no text is
            shared.

    Returns:
        The marks; None where nothing can be shared.
    """
    pairs: list[Pair] = []
    if groups[0] is not None and groups[1] is not None:
        pairs.append((groups[0], groups[1]))
    if texts[0] is not None and texts[1] is not None:
        pairs += product(texts[0].unbind(1), texts[1].unbind(1))
    return AnyMarks([GroupMarks(None, *_told_apart(*pair), *classes) for pair in pairs]) if pairs else None


def _told_apart(rows: Tensor, cols: Tensor) -> Pair:
    """Give every row and column without an id a name of its own, which none else has."""
    names = -1 - torch.arange(len(rows) + len(cols), device=rows.device)
    return rows.where(rows >= 0, names[: len(rows)]), cols.where(cols >= 0, names[len(rows) :])


def dense_mask(marks: Marks | None, rows: slice, num_cols: int, device: torch.device) -> Tensor:
    """Return the marks of some rows as a bool tensor, for a loss that holds its matrix; None marks nothing."""
    mask = None if marks is None else marks.mask(rows, slice(0, num_cols), device)
    return torch.zeros(rows.stop - rows.start, num_cols, dtype=torch.bool, device=device) if mask is None else mask


class OtherClassMarks:
    """Marks the entries of different class, and each row's own entry. Cheapest when rows and columns are sorted.

    Args:
        row_classes: ``(n,)`` int64.
        col_classes: ``(m,)`` int64.
        row_names: ``(n,)`` int64; an entry whose row and column have the same name is marked.
        col_names: ``(m,)`` int64.
    """

    def __init__(self, row_classes: Tensor, col_classes: Tensor, row_names: Tensor, col_names: Tensor) -> None:
        self._row_classes, self._col_classes = row_classes, col_classes
        self._row_names, self._col_names = row_names, col_names

    def mask(self, rows: slice, cols: slice, device: torch.device) -> Tensor | None:
        is_other = self._row_classes[rows, None] != self._col_classes[None, cols]
        return is_other | (self._row_names[rows, None] == self._col_names[None, cols])

    def covers(self, rows: slice, cols: slice) -> bool:
        row_classes, col_classes = self._row_classes[rows], self._col_classes[cols]
        return bool(row_classes.max() < col_classes.min()) or bool(row_classes.min() > col_classes.max())
