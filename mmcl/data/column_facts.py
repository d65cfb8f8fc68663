"""What the cells of a column hold, found by looking at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from PIL import Image

from mmcl.data.columns import Roles
from mmcl.data.images import UnreadableImage, decode_image
from mmcl.data.row_reader import RowReader
from mmcl.data.sources import Source

_NUM_CELLS = 64
"""Looked at of each column, spread over the rows."""
_NUM_PICTURES = 16
"""Of them, how many are opened."""
_MOST_CLASSES = 1_000
"""More different values are no longer few."""
_ROWS_AT_A_TIME = 1_000


@dataclass(frozen=True)
class ColumnFacts:
    """What is known of one column.

    Attributes:
        name: the column's.
        num_present: cells that are not missing.
        num_distinct: different values; None where they are not one value per row.
        is_class_column: it has the names of its classes with it.
        is_image_column: it says of itself that it holds pictures.
        num_looked_at: cells that were looked at, missing ones not counted.
        num_pictures: of the first few of them, those that could be opened as a picture.
        num_picture_names: cells that name a file as pictures are named, wherever it is.
        num_addresses: cells that are addresses on the network.
        num_numbers: cells that are a number, or the text of one.
        num_texts: cells with words in them, or lists of such.
        num_whole: cells that are a string or a whole number.
        example: the first cell looked at, None when there is none.
    """

    name: str
    num_present: int
    num_distinct: int | None = None
    is_class_column: bool = False
    is_image_column: bool = False
    num_looked_at: int = 0
    num_pictures: int = 0
    num_picture_names: int = 0
    num_addresses: int = 0
    num_numbers: int = 0
    num_texts: int = 0
    num_whole: int = 0
    example: Any = None

    @property
    def num_opened(self) -> int:
        """Cells that were tried as a picture."""
        return min(self.num_looked_at, _NUM_PICTURES)

    @property
    def holds_pictures(self) -> bool:
        """Whether it says so, or at least half of the cells that were tried could be opened as pictures."""
        return self.is_image_column or 0 < self.num_opened <= 2 * self.num_pictures

    @property
    def names_pictures(self) -> bool:
        """Whether its cells name pictures, which need not be there."""
        return self._is_most(self.num_picture_names)

    @property
    def holds_texts(self) -> bool:
        """Whether most cells are words, and neither pictures, names of such, addresses nor numbers."""
        return self._is_most(self.num_texts) and not (
            self.holds_pictures or self.names_pictures or self.is_class_column
        )

    @property
    def holds_whole_values(self) -> bool:
        """Whether its cells could be ids or classes: strings or whole numbers."""
        return self._is_most(self.num_whole) and not (self.holds_pictures or self.names_pictures)

    @property
    def has_few_values(self) -> bool:
        """Whether it has two values or more, each in five rows or more on the average, and a thousand at the most."""
        few = self.num_distinct is not None and 2 <= self.num_distinct <= _MOST_CLASSES
        return few and 5 * (self.num_distinct or 0) <= self.num_present

    @property
    def repeats(self) -> bool:
        """Whether values occur more than once, in groups of 50 rows at the most on the average."""
        return self.num_distinct is not None and self.num_distinct < self.num_present <= 50 * self.num_distinct

    def _is_most(self, count: int) -> bool:
        return count > 0 and 5 * count >= 4 * self.num_looked_at


def look_at_columns(source: Source) -> list[ColumnFacts]:
    """Look at every column of an indexed source, but for those that a library keeps for itself (``__key__``)."""
    return [_look_at(source, name) for name in source.columns if not is_private(name)]


def is_private(name: str) -> bool:
    """Whether a column is one that the library makes for itself, such as ``__key__`` of webdataset."""
    return name.startswith("__")


def _count_values(source: Source, name: str) -> tuple[int, int | None]:
    """Return how many cells of a column hold something, and how many different values there are."""
    column = source.dataset.select_columns([name]).with_format("arrow")
    if not _has_one_value(source.dataset.features.arrow_schema.field(name).type):  # pictures, which are not all read
        return sum(len(rows) - rows[name].null_count for rows in column.iter(_ROWS_AT_A_TIME)), None
    cells = column[:][name].drop_null()
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        cells = cells.filter(pc.not_equal(pc.utf8_trim_whitespace(cells), ""))
    return len(cells), pc.count_distinct(cells).as_py()


def _has_one_value(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
    )


def _look_at(source: Source, name: str) -> ColumnFacts:
    num_present, num_distinct = _count_values(source, name)
    feature = (source.dataset.features or {}).get(name)
    reader = RowReader(source, Roles(image=name), ("image",))
    cells = _some_cells(reader, name, len(source.dataset))
    values = [cell for cell in cells if not isinstance(cell, (bytes, Mapping))]
    return ColumnFacts(
        name=name,
        num_present=num_present,
        num_distinct=num_distinct,
        is_class_column=isinstance(feature, datasets.ClassLabel),
        is_image_column=isinstance(feature, datasets.Image),
        num_looked_at=len(cells),
        num_pictures=sum(_is_picture(reader.picture({name: cell})) for cell in cells[:_NUM_PICTURES]),
        num_picture_names=sum(_names_a_picture(value) for value in values),
        num_addresses=sum(isinstance(value, str) and "://" in value for value in values),
        num_numbers=sum(_is_number(value) for value in values),
        num_texts=sum(_is_text(value) for value in values),
        num_whole=sum(isinstance(value, (str, int)) for value in values),
        example=cells[0] if cells else None,
    )


def _some_cells(reader: RowReader, name: str, num_rows: int) -> list[Any]:
    """Return up to 64 cells that hold something, spread over the rows."""
    cells: list[Any] = []
    for num_looked_at in (_NUM_CELLS, 16 * _NUM_CELLS):  # more of a column that is mostly empty
        positions = np.unique(np.linspace(0, num_rows - 1, min(num_rows, num_looked_at)).round().astype(np.int64))
        found = [row[name] for row in reader.read(positions)]
        cells = [cell for cell in found if cell is not None and cell != "" and cell == cell][:_NUM_CELLS]
        if cells:
            break
    return cells


def _is_picture(value: Any) -> bool:
    if not isinstance(value, (str, bytes, Mapping)) or (isinstance(value, str) and "\n" in value):
        return False
    try:
        decode_image(value)
    except UnreadableImage:
        return False
    return True


def _names_a_picture(value: Any) -> bool:
    if not isinstance(value, str) or "\n" in value:
        return False
    return Path(value.partition("?")[0]).suffix.lower() in Image.registered_extensions()


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True


def _is_text(value: Any) -> bool:
    """Whether there are words in a cell, or in a list of texts: no number, no address, and no id such as ``AB-12``."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value) and any(map(_is_text, value))
    if not isinstance(value, str) or "://" in value or _is_number(value):
        return False
    words = value.split()
    return any(character.isalpha() for character in value) and (
        len(words) > 1 or not any(character.isdigit() or character == "_" for character in value)
    )
