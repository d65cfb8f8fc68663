"""Which rows show or say the same: within a source, and between what is learnt from and what is held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from mmcl.data.hashing import Int64Array

RowKeys = Mapping[int, Sequence[Hashable]]
"""What stands for the picture, or for each of the texts, of a row, by position."""


@dataclass(frozen=True)
class Repeats:
    """What occurs in more than one row.

    Attributes:
        num_distinct: different values in all.
        num_rows: rows of which a value occurs in an earlier row.
        num_across_groups: values that occur in several groups; None where no column gives the groups.
        rows: for each value that occurs in several rows, their positions.
    """

    num_distinct: int
    num_rows: int
    num_across_groups: int | None
    rows: tuple[tuple[int, ...], ...]


def find_repeats(keys: RowKeys, group_ids: Int64Array | None = None) -> Repeats:
    """Find the values that several rows share.

    Args:
        keys: of the rows.
        group_ids: ``(N,)`` int64 group by position; None where no column gives it.
    """
    rows_of: defaultdict[Hashable, list[int]] = defaultdict(list)
    num_rows = 0
    for position in sorted(keys):
        values = set(keys[position])
        num_rows += any(value in rows_of for value in values)
        for value in values:
            rows_of[value].append(position)
    shared = tuple(tuple(rows) for rows in rows_of.values() if len(rows) > 1)
    across = None
    if group_ids is not None:
        across = sum(len({int(group_ids[row]) for row in rows}) > 1 for rows in shared)
    return Repeats(len(rows_of), num_rows, across, tuple(sorted(shared)))


def rows_in_common(keys: RowKeys, others: RowKeys) -> tuple[int, ...]:
    """Return the positions in ``keys`` of the rows of which a value occurs in ``others``, in order."""
    known = {value for values in others.values() for value in values}
    return tuple(sorted(position for position, values in keys.items() if not known.isdisjoint(values)))
