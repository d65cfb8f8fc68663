"""Rows to judge a model on: pictures decoded when asked for, captions, groups and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from PIL import Image

from mmcl.data.benchmark_folder import ClassPrompts
from mmcl.data.captions import captions_of
from mmcl.data.cells import read_cells
from mmcl.data.columns import Roles, resolve_roles
from mmcl.data.hashing import Int64Array
from mmcl.data.images import DEFAULT_MAX_PIXELS, UnreadableImage, decode_image
from mmcl.data.labels import is_missing, label_name
from mmcl.data.loader import TrainData, check_paths_exist
from mmcl.data.mixed_reader import MixedReader
from mmcl.data.mixture import TrainSource
from mmcl.data.picture_scan import scan_pictures
from mmcl.data.quarantine import Quarantine, QuarantineRecord
from mmcl.data.row_reader import RowReader
from mmcl.data.scan import needs_of_whole_rows, scan_rows
from mmcl.data.sources import Source, open_source
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig

_MODALITIES = {"image": "pictures", "text": "texts", "label": "labels"}


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
            number, name = self.reader.locate(int(position))
            raise UserError(f"row {number} of {name} could be read before, and now cannot: {reason}") from reason


@dataclass(frozen=True)
class EvaluationRows:
    """Rows to judge on, in the order of their source; rows that cannot be used are not among them.

    Attributes:
        name: of the data, for results.
        split: of the data, for results.
        images: one picture per row, decoded when asked for; none at all without an image column.
        texts: the captions of each row; empty lists without a text column, and of rows that no objective asks for one.
        groups: one id per row; rows of one group are drawings of one thing, or share their captions.
        labels: one class name per row; None without a label column.
        label_lists: what the cell of each row holds that may have several labels: their names, or one text with all of
            them, nothing in an empty cell; None where they were not asked for.
        ids: the rows' positions in their source.
        left_out: the rows that cannot be used, with reasons.
        pictures: one hash per row, equal for rows that show the same pixels; empty where pictures or texts lack. Of
            several sources, a row of one that has no texts has an empty hash.
        label_names: what all labels are called, in order, where they are integer classes; else empty.
        class_prompts: what came with the rows for prompts of their classes, in CLIP_benchmark's layout; else None.
    """

    name: str
    split: str
    images: LazyPictures
    texts: list[list[str]]
    groups: list[int]
    labels: list[str] | None
    ids: list[int]
    left_out: tuple[QuarantineRecord, ...] = ()
    pictures: tuple[bytes, ...] = ()
    label_lists: list[list[str] | str] | None = None
    label_names: tuple[str, ...] = ()
    class_prompts: ClassPrompts | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def check_has(self, *roles: str, task: str) -> None:
        """Make sure that every row has what a task judges by.

        Args:
            roles: of ``image``, ``text`` and ``label``.
            task: its name, which the error begins with.

        Raises:
            UserError: a role is not played, or not every row has a text.
        """
        found = {"image": len(self.images) == len(self), "text": all(self.texts), "label": self.labels is not None}
        for role in roles:
            if not found[role]:
                what = _MODALITIES[role]
                lacks = f"no {role} column" if role != "text" or not any(self.texts) else "rows without a text"
                raise UserError(f"{task} needs {what}: {self.name} has {lacks}; name one as columns.{role} of its data")


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
        columns: which column plays which role. Pictures or texts have to be there, the rest may be missing unless
            ``required``; a row has to have all that there are columns for.
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
    place = f"{key.rpartition('.')[0] or key}.columns"
    roles = resolve_roles(opened, columns, dict.fromkeys(required, ""), place)
    if roles.image is None and roles.text is None:
        resolve_roles(opened, columns, {"image": ""}, place)  # which says what to write
    if roles.image is not None:
        check_paths_exist(RowReader(opened, roles), len(opened.dataset))
    scan = scan_rows(opened, roles, needs_of_whole_rows(roles), f"{key}: columns")
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
            f"data.validation: {config.validation:.2%} of the {data.num_groups:,} groups of {data.name} "
            "holds out no row; give a larger share, a source, or 0"
        )
    judged = [part for part in ("image", "text.0") if part in data.builder.reader.columns]
    read = []
    for each in data.sources:
        if each.reader.columns.keys() >= set(judged):
            read += _held_out_rows(data, each, config.max_pixels)
    if not read:
        raise UserError(
            f"data.validation: none of the {len(data.held_out):,} rows held out of {data.name} has all that is "
            "judged by; give a larger share, a source, or 0"
        )
    return join_rows(read)


def _held_out_rows(data: TrainData, each: TrainSource, max_pixels: int) -> list[EvaluationRows]:
    """Return the held-out rows of a source that have all that is judged by; nothing where there is none."""
    roles = each.roles if "image" in each.reader.columns else replace(each.roles, image=None)
    judged = roles if "text.0" in each.reader.columns else replace(roles, text=None)
    positions, group_ids = each.own(data.held_out), each.slice(data.group_ids)
    if len(positions) and (data.is_partial or not each.slice(data.is_complete)[positions].all()):
        held_out = replace(each.source, dataset=each.source.dataset.select(positions))
        scan = scan_rows(held_out, judged, needs_of_whole_rows(judged), each.columns_key)
        positions = positions[scan.is_usable]
    if not len(positions):
        return []
    return [_read_rows(each.source, roles, positions, group_ids, "validation", max_pixels, data.quarantine)]


def join_rows(parts: Sequence[EvaluationRows]) -> EvaluationRows:
    """Return the rows of several sources as if they were of one, counted on from one source to the next.

    They have labels where all of the sources have.
    """
    if len(parts) == 1:
        return parts[0]
    first, readers = parts[0], [part.images.reader for part in parts]
    firsts = np.cumsum([0, *(reader.num_rows for reader in readers[:-1])])
    positions = [part.images.positions + start for part, start in zip(parts, firsts, strict=True)]
    has_labels = all(part.labels is not None for part in parts)
    return EvaluationRows(
        name=" + ".join(part.name for part in parts),
        split=first.split,
        images=LazyPictures(MixedReader(readers), np.concatenate(positions), first.images.max_pixels),
        texts=[texts for part in parts for texts in part.texts],
        groups=[group for part in parts for group in part.groups],
        labels=[label for part in parts for label in part.labels or []] if has_labels else None,
        ids=[int(start) + row for part, start in zip(parts, firsts, strict=True) for row in part.ids],
        left_out=tuple(record for part in parts for record in part.left_out),
        pictures=tuple(pixels for part in parts for pixels in part.pictures or [b""] * len(part))
        if any(part.pictures for part in parts)
        else (),
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
    left_out, hashes = _unlabelled(source, roles, positions), {}
    if roles.image is not None:
        # Hours into a run is no time to find a truncated file.
        scan = scan_pictures(reader, positions, max_pixels, with_hashes=roles.text is not None)
        left_out, hashes = scan.unreadable + left_out, scan.hashes
    quarantine.hold(left_out, num_seen=len(positions))
    bad = {record.sample_id for record in left_out}
    positions = np.array([position for position in positions.tolist() if position not in bad], dtype=np.int64)
    labels = None
    if roles.label is not None:
        labels = [label_name(value, roles) for value in _column(source, roles.label, positions)]
    return EvaluationRows(
        name=source.name,
        split=split,
        images=LazyPictures(reader, positions if roles.image is not None else positions[:0], max_pixels),
        texts=_texts(source, roles, positions),
        groups=group_ids[positions].tolist(),
        labels=labels,
        ids=positions.tolist(),
        left_out=tuple(left_out),
        pictures=tuple(hashes[position] for position in positions.tolist()) if hashes else (),
        label_lists=_label_lists(source, roles, positions),
        label_names=roles.label_names or roles.labels_names or (),
        class_prompts=source.class_prompts,
    )


def _label_lists(source: Source, roles: Roles, positions: Int64Array) -> list[list[str] | str] | None:
    if roles.labels is None:
        return None
    names = roles.labels_names
    cells: list[Any] = _column(source, roles.labels, positions)
    return [
        cell if isinstance(cell, str) else [names[one] if names else str(one) for one in cell or ()] for cell in cells
    ]


def _texts(source: Source, roles: Roles, positions: Int64Array) -> list[list[str]]:
    if roles.text is None:
        return [[] for _ in positions]
    texts = []
    chosen = replace(source, dataset=source.dataset.select(positions))
    for (cell,) in read_cells(chosen, roles.text):
        try:
            texts.append(list(captions_of(cell)))
        except ValueError:
            texts.append([])
    return texts


def _column(source: Source, column: str, positions: Int64Array) -> list[object]:
    return list(source.dataset.select_columns([column])[positions.tolist()][column])


def _unlabelled(source: Source, roles: Roles, positions: Int64Array) -> list[QuarantineRecord]:
    if roles.label is None:
        return []
    values = zip(positions.tolist(), _column(source, roles.label, positions), strict=True)
    missing = [position for position, value in values if is_missing(value, roles)]
    if len(missing) == len(positions):
        raise UserError(f'{source.key}: the label column "{roles.label}" of {source.name} holds no label')
    return [QuarantineRecord(position, None, "the label is missing", source=source.name) for position in missing]
