"""Labels: class indices for training, and their names."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmcl.data.columns import Roles
from mmcl.data.hashing import Int64Array
from mmcl.data.sources import Source

UNKNOWN = -1
"""The class index of a row without a label, as Hugging Face data sets have it too."""

_ROWS_AT_A_TIME = 10_000


def is_missing(value: Any, roles: Roles) -> bool:
    """Whether a cell of the label column holds none: None, nan, blank text, or -1 in a class column."""
    if value is None or value != value:
        return True
    return value == UNKNOWN if roles.label_names is not None else not str(value).strip()


def label_name(value: Any, roles: Roles) -> str:
    """Return what the label in a cell is called."""
    return roles.label_names[int(str(value))] if roles.label_names is not None else str(value)


def index_labels(source: Source, roles: Roles) -> tuple[Int64Array | None, tuple[str, ...]]:
    """Read the label column of an indexed source.

    Returns:
        ``(N,)`` int64 class index of every row, -1 where it has no label, and the names of the classes. A class column
        keeps its own indices; of any other, classes are its values over the whole source, sorted: numbers by size,
        texts by code point. None and no names without a label column.
    """
    if roles.label is None:
        return None, ()
    values: list[Any] = []
    for cells in source.dataset.select_columns([roles.label]).iter(batch_size=_ROWS_AT_A_TIME):
        values += [None if is_missing(value, roles) else value for value in cells[roles.label]]
    if roles.label_names is not None:
        return np.array([UNKNOWN if value is None else value for value in values], np.int64), roles.label_names
    classes = sorted({value for value in values if value is not None})
    index_of = {value: index for index, value in enumerate(classes)}
    indices = np.array([UNKNOWN if value is None else index_of[value] for value in values], dtype=np.int64)
    return indices, tuple(map(str, classes))


def class_index(value: Any, roles: Roles) -> int:
    """Return the class index in a cell of a class column, -1 where it holds none."""
    return UNKNOWN if is_missing(value, roles) else int(value)
