"""The wrong captions of rows that a picture's own caption is judged against."""

from __future__ import annotations

from dataclasses import replace

from mmcl.data.captions import captions_of
from mmcl.data.cells import read_cells
from mmcl.data.columns import resolve_roles
from mmcl.data.sources import open_source
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, SourceConfig


def read_wrong_captions(
    source: SourceConfig, columns: ColumnsConfig, positions: list[int], key: str
) -> list[list[str]] | None:
    """Return the texts of all columns of hard negatives, of some rows; None where there is no such column.

    Args:
        source: where from.
        columns: which column plays which role; a column ``negatives`` needs no naming.
        positions: of the rows, in the source.
        key: where the recipe names the source; errors begin with it.

    Raises:
        UserError: a column that is named is not there or holds no text, or a row has no wrong caption.
    """
    opened = open_source(source, key)
    named = columns.num_negatives
    num_columns = int("negatives" in opened.columns) if named is None else named
    if not num_columns:
        return None
    roles = resolve_roles(opened, columns, key=f"{key.rpartition('.')[0]}.columns", num_negatives=num_columns)
    rows = replace(opened, dataset=opened.dataset.select(positions))
    found = []
    for position, cells in zip(positions, read_cells(rows, *roles.negatives), strict=True):
        try:
            found.append([text for cell in cells for text in captions_of(cell)])
        except ValueError as reason:
            raise UserError(f"{key}: row {position} of {opened.name} lacks a wrong caption: {reason}") from reason
    return found
