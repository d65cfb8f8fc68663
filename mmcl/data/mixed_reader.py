"""Rows of several sources, read as if they were of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmcl.data.cells import cell_of
from mmcl.data.columns import Roles
from mmcl.data.hashing import Int64Array
from mmcl.data.row_reader import RowReader


class MixedReader(RowReader):
    """Reads rows of several indexed sources, which are counted on from one source to the next.

    What a row has is called by its part (``image``, ``text.0`` ...), whatever the column is called in its source; a
    part for which that has no column is None.

    Args:
        readers: one for each source, in order.
    """

    def __init__(self, readers: Sequence[RowReader]) -> None:
        self.readers = tuple(readers)
        parts = {part for reader in readers for part in reader.columns}
        self.columns = {part: part for part in sorted(parts, key=lambda part: (part != "image", len(part), part))}
        ends = np.cumsum([reader.num_rows for reader in readers])
        self.num_rows = int(ends[-1])
        self._firsts = ends - [reader.num_rows for reader in readers]
        # Each source's own reader resolves paths and fills templates.
        self.roles = Roles()
        name = " + ".join(reader.source.name for reader in readers)
        self.source = replace(readers[0].source, name=name, key="data.train", image_root=None)

    def locate(self, position: int) -> tuple[int, str]:
        """Return the row's position in its source, and the name of that."""
        number = int(self._sources_of(np.array([position]))[0])
        return self.readers[number].locate(position - int(self._firsts[number]))

    def read(self, positions: Int64Array, with_pictures: bool = True) -> list[dict[str, Any]]:
        """Return the rows at the positions, in order."""
        rows: list[dict[str, Any]] = [{} for _ in positions]
        parts = [part for part in self.columns if with_pictures or part != "image"]
        of_source = self._sources_of(positions)
        for number in np.unique(of_source).tolist():
            reader, places = self.readers[number], np.flatnonzero(of_source == number)
            read = reader.read(positions[places] - self._firsts[number], with_pictures)
            for place, row in zip(places.tolist(), read, strict=True):
                rows[place] = {part: _cell(reader, row, part) for part in parts}
        return rows

    def _sources_of(self, positions: Int64Array) -> Int64Array:
        return np.searchsorted(self._firsts, positions, side="right").astype(np.int64) - 1


def _cell(reader: RowReader, row: dict[str, Any], part: str) -> Any:
    """Return what a row of one source has for a part, as a cell that needs nothing of that source to be read."""
    if part == "image":
        return reader.picture(row)
    cell = cell_of(row, reader.columns.get(part))
    if not reader.roles.caption_templates:
        return cell
    try:
        return list(reader.captions(row, part)) or None
    except ValueError:
        return cell
