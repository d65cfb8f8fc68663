"""The parts of rows, read by column: pictures as they lie there, texts, and what a row lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmcl.data.cells import cell_of, names_in
from mmcl.data.columns import Roles
from mmcl.data.hashing import Int64Array
from mmcl.data.needs import is_text
from mmcl.data.prompts import texts_in
from mmcl.data.scan import has_picture, missing_reason, reason_of
from mmcl.data.scores import score_of
from mmcl.data.sources import Source


class RowReader:
    """Reads pictures, captions and scores of rows, without decoding.

    Args:
        source: where from.
        roles: its columns.
        parts: of a row that are read, as `mmcl.data.needs` calls them; by default picture and caption.
    """

    def __init__(self, source: Source, roles: Roles, parts: Sequence[str] = ("image", "text.0")) -> None:
        self.roles = roles
        self.columns = {part: column for part in parts if (column := roles.column_of(part)) is not None}
        others = names_in(*(column for part, column in self.columns.items() if part != "image"))
        every = names_in(*self.columns.values())
        # Indexed rows are read by position; a stream's come with the request.
        is_read = not source.is_stream
        self.dataset = source.dataset.select_columns(every) if is_read and every else None
        self._others = source.dataset.select_columns(others) if is_read and others else None
        self.num_rows = len(source.dataset) if is_read else 0
        self.source = replace(source, dataset=None)

    def locate(self, position: int) -> tuple[int, str]:
        """Return the row's position in its source, and the name of that."""
        return position, self.source.name

    def read(self, positions: Int64Array, with_pictures: bool = True) -> list[dict[str, Any]]:
        """Return the rows of an indexed source at the positions, in order."""
        dataset = self.dataset if with_pictures else self._others
        if dataset is None or not len(positions):
            return [{} for _ in positions]
        cells = dataset[positions.tolist()]
        return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]

    def picture(self, row: Mapping[str, Any]) -> Any:
        """Return the row's picture as `decode_image` takes it, relative paths resolved."""
        column = self.columns.get("image")
        value = row.get(column) if isinstance(column, str) else None
        if isinstance(value, str):
            return self.source.resolve(value)
        if isinstance(value, Mapping) and value.get("bytes") is None and value.get("path") is not None:
            return {"bytes": None, "path": self.source.resolve(value["path"])}
        return value

    def path(self, row: Mapping[str, Any]) -> str | None:
        """Return the path of the row's picture, where it has one."""
        value = self.picture(row)
        path = value.get("path") if isinstance(value, Mapping) else value
        return path if isinstance(path, str) else None

    def captions(self, row: Mapping[str, Any], part: str = "text.0") -> tuple[str, ...]:
        """Return the row's usable captions, or those of another text; empty without a column for it.

        Raises:
            ValueError: there is none.
        """
        return texts_in(cell_of(row, self.columns[part]), part, self.roles) if part in self.columns else ()

    def score(self, row: Mapping[str, Any]) -> float:
        """Return the row's score.

        Raises:
            ValueError: it has none.
        """
        return score_of(cell_of(row, self.columns.get("score")))

    def parts_of(self, row: Mapping[str, Any]) -> tuple[set[str], dict[str, str]]:
        """Return which parts a row has, and why it has not the others."""
        has, wrong = set(), {}
        for part, column in self.columns.items():
            cell = cell_of(row, column)
            try:
                if is_text(part):
                    texts_in(cell, part, self.roles)
                elif part == "score":
                    score_of(cell)
                elif not has_picture(cell):
                    raise ValueError(missing_reason(part))
                has.add(part)
            except ValueError as reason:
                wrong[part] = reason_of(reason, part)
        return has, wrong
