"""Cells of rows: of one column, or of several that are read as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from mmcl.data.sources import Source

Column: TypeAlias = str | tuple[str, ...]
"""The name of a column; or of several, whose cells together are one cell, a list of all that they hold."""

_ROWS_AT_A_TIME = 10_000


def names_in(*columns: Column | None) -> list[str]:
    """Return the names of columns in order, each once."""
    names = (name for column in columns if column is not None for name in _names(column))
    return list(dict.fromkeys(names))


def cell_of(row: Mapping[str, Any], column: Column | None) -> Any:
    """Return a row's cell; None for a column that is None."""
    if isinstance(column, tuple):
        return _joined([row[name] for name in column])
    return None if column is None else row[column]


def read_cells(source: Source, *columns: Column | None) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of some columns of an indexed source row by row; None for those of a column that is None."""
    names = names_in(*columns)
    if not names:
        yield from repeat((None,) * len(columns), len(source.dataset))
        return
    for cells in source.dataset.select_columns(names).iter(batch_size=_ROWS_AT_A_TIME):
        num_rows = len(cells[names[0]])
        yield from zip(*(_all_of(cells, column, num_rows) for column in columns), strict=True)


def _names(column: Column) -> tuple[str, ...]:
    return (column,) if isinstance(column, str) else column


def _all_of(cells: Mapping[str, Sequence[Any]], column: Column | None, num_rows: int) -> Iterable[Any]:
    if isinstance(column, tuple):
        return map(_joined, zip(*(cells[name] for name in column), strict=True))
    return repeat(None, num_rows) if column is None else cells[column]


def _joined(cells: Iterable[Any]) -> list[Any]:
    return [item for cell in cells for item in (cell if isinstance(cell, (list, tuple)) else [cell])]
