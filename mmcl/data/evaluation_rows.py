"""Rows to judge a model on: pictures decoded when asked for, captions, groups and labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from PIL import Image

from mmcl.data.captions import scan_rows
from mmcl.data.columns import Roles, resolve_roles
from mmcl.data.hashing import Int64Array
from mmcl.data.images import DEFAULT_MAX_PIXELS, UnreadableImage, decode_image
from mmcl.data.loader import TrainData, check_paths_exist
from mmcl.data.quarantine import Quarantine, QuarantineRecord
from mmcl.data.rows import RowReader
from mmcl.data.sources import Source, open_source
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig

_NO_LABEL = -1  # how Hugging Face data sets mark an unlabelled row of a class column


class LazyPictures(Sequence[Image.Image]):
    """Pictures of rows, each decoded whenever it is asked for. A slice is lazy too.

    Args:
        reader: of the rows.
        positions: ``(N,)`` int64 positions in the source.
        max_pixels: pictures with more are refused.
    """

    def __init__(self, reader: RowReader, positions: Int64Array, max_pixels: int) -> None:
        self.reader, self.positions, self.max_pixels = reader, positions, max_pixels

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> LazyPictures: ...
    def __getitem__(self, index: int | slice) -> Image.Image | LazyPictures:
        """Return one picture as RGB.

        Raises:
            UserError: it can no longer be read.
        """
        if isinstance(index, slice):
            return LazyPictures(self.reader, self.positions[index], self.max_pixels)
        position = self.positions[index]
        (row,) = self.reader.read(position[None])
        try:
            return decode_image(self.reader.picture(row), self.max_pixels)
        except UnreadableImage as reason:
            name = self.reader.source.name
            raise UserError(f"row {position} of {name} could be read before, and now cannot: {reason}") from reason


@dataclass(frozen=True)
class EvaluationRows:
    """Rows to judge on, in the order of their source; rows that cannot be used are not among them.

    Attributes:
        name: of the data, for results.
        split: of the data, for results.
        images: one picture per row, decoded when asked for.
        texts: the captions of each row; empty lists without a text column.
        groups: one id per row; rows of one group are drawings of one thing, or share their captions.
        labels: one class name per row; None without a label column.
        ids: the rows' positions in their source.
        left_out: the rows that cannot be used, with reasons.
    """

    name: str
    split: str
    images: LazyPictures
    texts: list[list[str]]
    groups: list[int]
    labels: list[str] | None
    ids: list[int]
    left_out: tuple[QuarantineRecord, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def open_evaluation_rows(
    source: SourceConfig,
    columns: ColumnsConfig,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    *,
    max_unreadable: float = 0.01,
    required: Sequence[str] = (),
    key: str = "evaluate.data",
) -> EvaluationRows:
    """Open rows to judge on, and read each picture once to know that it can be.

    Args:
        source: where from. A stream is refused: judging needs all rows at once.
        columns: which column plays which role; text, group and label may be missing unless ``required``.
        max_pixels: pictures with more are refused from their header.
        max_unreadable: share of rows that cannot be used, 0 to 1, above which it is an error.
        required: roles that must be there, such as ``("label",)``.
        key: where the recipe names the source; errors begin with it.

    Raises:
        UserError: for whatever is wrong with the source, its columns, or too many of its rows.
    """
    if source.streaming:
        raise UserError(f"{key}.streaming: rows to judge on are needed all at once; set it to false")
    opened = open_source(source, key)
    roles = resolve_roles(opened, columns, required, f"{key.rpartition('.')[0] or key}.columns")
    check_paths_exist(RowReader(opened, roles), len(opened.dataset))
    scan = scan_rows(opened, roles, f"{key}: columns.text")
    quarantine = Quarantine(max_unreadable)
    quarantine.hold(scan.unusable, num_seen=len(scan.group_ids))
    positions = np.flatnonzero(scan.is_usable)
    if not len(positions):
        raise UserError(f"{key}: no row of {opened.name} can be used: {scan.unusable[0].reason}")
    rows = _read_rows(opened, roles, positions, scan.group_ids, opened.split, max_pixels, quarantine)
    return replace(rows, left_out=(*scan.unusable, *rows.left_out))


def validation_rows(recipe: Recipe, data: TrainData) -> EvaluationRows | None:
    """Return the held-out rows of a recipe; None when ``data.validation`` is 0.

    Rows that cannot be used are written to the training data's quarantine.

    Raises:
        UserError: the share holds out no row, or for whatever is wrong with a source of their own.
    """
    config = recipe.data
    if isinstance(config.validation, SourceConfig):
        rows = open_evaluation_rows(
            config.validation,
            config.columns,
            config.max_pixels,
            max_unreadable=config.max_unreadable,
            key="data.validation",
        )
        data.quarantine.hold(rows.left_out, num_seen=len(rows) + len(rows.left_out))
        return rows
    if config.validation == 0:
        return None
    if not len(data.held_out):
        raise UserError(
            f"data.validation: {config.validation:.2%} of the {data.num_groups:,} groups of {data.source.name} "
            "holds out no row; give a larger share, a source, or 0"
        )
    return _read_rows(
        data.source, data.roles, data.held_out, data.group_ids, "validation", config.max_pixels, data.quarantine
    )


def _read_rows(
    source: Source,
    roles: Roles,
    positions: Int64Array,
    group_ids: Int64Array,
    split: str,
    max_pixels: int,
    quarantine: Quarantine,
) -> EvaluationRows:
    reader = RowReader(source, roles)
    left_out = _unusable(reader, positions, max_pixels) + _unlabelled(source, roles, positions)
    quarantine.hold(left_out, num_seen=len(positions))
    bad = {record.sample_id for record in left_out}
    positions = np.array([position for position in positions.tolist() if position not in bad], dtype=np.int64)
    labels = None
    if roles.label is not None:
        labels = [_label_name(value, roles) for value in _column(source, roles.label, positions)]
    texts: list[list[str]] = [[] for _ in positions]
    if roles.text is not None:
        cells = _column(source, roles.text, positions)
        texts = [list(reader.captions({roles.text: cell})) for cell in cells]
    return EvaluationRows(
        name=source.name,
        split=split,
        images=LazyPictures(reader, positions, max_pixels),
        texts=texts,
        groups=group_ids[positions].tolist(),
        labels=labels,
        ids=positions.tolist(),
        left_out=tuple(left_out),
    )


def _column(source: Source, column: str, positions: Int64Array) -> list[object]:
    return list(source.dataset.select_columns([column])[positions.tolist()][column])


def _unusable(reader: RowReader, positions: Int64Array, max_pixels: int) -> list[QuarantineRecord]:
    """Decode every picture once: hours into a run is no time to find a truncated file."""

    def reason(position: int) -> QuarantineRecord | None:
        (row,) = reader.read(np.array([position]))
        try:
            decode_image(reader.picture(row), max_pixels)
        except UnreadableImage as error:
            return QuarantineRecord(position, None, str(error), reader.path(row), reader.source.name)
        return None

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        return [record for record in threads.map(reason, positions.tolist()) if record is not None]


def _unlabelled(source: Source, roles: Roles, positions: Int64Array) -> list[QuarantineRecord]:
    if roles.label is None:
        return []
    values = zip(positions.tolist(), _column(source, roles.label, positions), strict=True)
    missing = [position for position, value in values if _is_missing(value, roles)]
    if len(missing) == len(positions):
        raise UserError(f'{source.key}: the label column "{roles.label}" of {source.name} holds no label')
    return [QuarantineRecord(position, None, "the label is missing", source=source.name) for position in missing]


def _is_missing(value: object, roles: Roles) -> bool:
    if value is None or value != value:
        return True
    return value == _NO_LABEL if roles.label_names is not None else not str(value).strip()


def _label_name(value: object, roles: Roles) -> str:
    return roles.label_names[int(str(value))] if roles.label_names is not None else str(value)
