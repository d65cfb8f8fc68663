"""The rows that are embedded: their ids, their pictures or texts, and what tells them from other rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from torch import Tensor

from mmcl.data.cells import Column, names_in
from mmcl.data.columns import resolve_roles
from mmcl.data.hashing import Int64Array
from mmcl.data.images import UnreadableImage
from mmcl.data.loader import check_paths_exist
from mmcl.data.quarantine import QuarantineRecord
from mmcl.data.row_reader import RowReader
from mmcl.data.scan import has_picture, missing_reason
from mmcl.data.sources import Source, open_source
from mmcl.embedder import ModelEmbedder
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.towers.towers import MODALITIES, Modality
from mmcl.vectors.parts import Part, unit_norm

_ROWS_AT_A_TIME = 10_000

Refusal = tuple[int, str]
"""A row's position, and why it is left out."""


@dataclass(frozen=True)
class RowsToEmbed:
    """An opened source of which one column is embedded.

    Attributes:
        source: the rows.
        what: ``image`` or ``text``.
        column: that holds them.
        id_column: that names the rows; None goes by their positions, from 0.
        reader: of the column.
        prompt: name of the model's prompt that goes before every text.
    """

    source: Source
    what: Modality
    column: Column
    id_column: str | None
    reader: RowReader
    prompt: str | None = None

    def __len__(self) -> int:
        return len(self.source.dataset)

    def digest(self) -> str:
        """Return a SHA-256 of ids, texts and paths; of encoded pictures only their lengths, to read none of them."""
        digest = hashlib.sha256(str(self.source.image_root).encode())
        columns = names_in(self.column, self.id_column)
        table = self.source.dataset.select_columns(columns).with_format("arrow")
        for rows in table.iter(_ROWS_AT_A_TIME):
            for column in columns:
                told = [cell for cells in rows[column].chunks for cell in _told(cells)]
                digest.update(json.dumps(told, default=str).encode())
        return digest.hexdigest()

    def embed(self, embedder: ModelEmbedder, start: int, stop: int) -> Part:
        """Embed the rows from ``start`` up to ``stop``, each caption of a row by itself."""
        positions = np.arange(start, stop)
        encode = self._pictures if self.what == "image" else self._texts
        places, vectors, refused = encode(embedder, positions)
        has_direction = unit_norm(vectors)
        refused += [(place, "the model gives it a vector without a direction") for place in places[~has_direction]]
        return Part(self._ids(places[has_direction]), vectors[has_direction], self._records(refused))

    def _ids(self, positions: Int64Array) -> pa.Array:
        if self.id_column is None:
            return pa.array(positions, type=pa.int64())
        kind = self.source.dataset.features.arrow_schema.field(self.id_column).type
        cells = self.source.dataset.select_columns([self.id_column])[positions.tolist()][self.id_column]
        return pa.array(list(cells), type=kind)

    def _records(self, refused: Sequence[Refusal]) -> tuple[QuarantineRecord, ...]:
        name, records = self.source.name, []
        for position, reason in sorted((int(position), reason) for position, reason in refused):
            path = None
            if self.what == "image":
                path = self.reader.path(self.reader.read(np.array([position]))[0])
            records.append(QuarantineRecord(position, None, reason, path, name))
        return tuple(records)

    def _texts(self, embedder: ModelEmbedder, positions: Int64Array) -> tuple[Int64Array, Any, list[Refusal]]:
        places: list[int] = []
        texts: list[str] = []
        refused: list[Refusal] = []
        for position, row in zip(positions.tolist(), self.reader.read(positions), strict=True):
            try:
                captions = self.reader.captions(row)
            except ValueError as reason:
                refused.append((position, str(reason)))
                continue
            places += [position] * len(captions)
            texts += captions
        return np.array(places, dtype=np.int64), embedder.encode_texts(texts, self.prompt), refused

    def _pictures(self, embedder: ModelEmbedder, positions: Int64Array) -> tuple[Int64Array, Any, list[Refusal]]:
        places: list[int] = []
        refused: list[Refusal] = []
        vectors = [np.zeros((0, embedder.model.embedding_dim), dtype=np.float32)]
        for batch in _decoded(positions, embedder.batch_size, lambda position: self._pixels(embedder, position)):
            refused += [(position, found) for position, found in batch if isinstance(found, str)]
            read = [(position, found) for position, found in batch if not isinstance(found, str)]
            places += [position for position, _ in read]
            vectors.append(embedder.encode_pixels([pixels for _, pixels in read]))
        return np.array(places, dtype=np.int64), np.concatenate(vectors), refused

    def _pixels(self, embedder: ModelEmbedder, position: int) -> Tensor | str:
        """Return what the model is given of a row's picture, or why it is given none."""
        (row,) = self.reader.read(np.array([position]))
        value = self.reader.picture(row)
        if not has_picture(value):
            return missing_reason("image")
        try:
            return embedder.pixels_of(value)
        except UnreadableImage as reason:
            return str(reason)


def _decoded(
    positions: Int64Array, batch_size: int, read: Callable[[int], Tensor | str]
) -> Iterator[list[tuple[int, Tensor | str]]]:
    """Yield the rows batch by batch; threads decode the next one while this one is encoded."""
    batches = [positions[start : start + batch_size].tolist() for start in range(0, len(positions), batch_size)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:

        def begin(batch: list[int]) -> list[tuple[int, Future[Tensor | str]]]:
            return [(position, threads.submit(read, position)) for position in batch]

        waiting = begin(batches[0]) if batches else []
        for index in range(len(batches)):
            begun, waiting = waiting, begin(batches[index + 1]) if index + 1 < len(batches) else []
            yield [(position, future.result()) for position, future in begun]


def _told(cells: pa.Array) -> list[Any]:
    """Return what tells cells apart without their pictures' bytes."""
    if isinstance(cells, pa.ExtensionArray):
        cells = cells.storage
    if pa.types.is_struct(cells.type):
        return list(zip(*(_told(cells.field(index)) for index in range(cells.type.num_fields)), strict=True))
    if pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type):
        cells = pc.binary_length(cells)
    told: list[Any] = cells.to_pylist()
    return told


def open_rows(
    config: SourceConfig,
    columns: ColumnsConfig,
    embedder: ModelEmbedder,
    what: str | None,
    id_column: str | None,
    prompt: str | None = None,
) -> RowsToEmbed:
    """Open a source and settle what of it is embedded.

    Args:
        config: the source.
        columns: which hold the pictures and the texts.
        embedder: the model.
        what: ``image`` or ``text``; None where only one is both in the data and in the model.
        id_column: that names the rows.
        prompt: name of the model's prompt that goes before every text.

    Raises:
        UserError: for whatever is wrong with the source or its columns, or when ``what`` has to be said.
    """
    if what is not None and what not in MODALITIES:
        raise UserError(f"--what must be image or text, got {what}.{did_you_mean(what, MODALITIES)}")
    source = open_source(config, "data")
    if id_column is not None and id_column not in source.columns:
        hint = did_you_mean(id_column, source.columns)
        raise UserError(f'--id: no column "{id_column}" in {source.name} ({", ".join(source.columns)}).{hint}')
    roles = resolve_roles(source, columns)
    both = [one for one in MODALITIES if one in embedder.modalities and getattr(roles, one) is not None]
    if what is None and len(both) == 2:
        raise UserError(
            f"--what: the model embeds pictures and texts, and {source.name} has both ({roles.described()}); say"
            " --what image or --what text"
        )
    chosen = next((one for one in MODALITIES if one == what), None) or (both or embedder.model.towers.modalities)[0]
    embedder.model.towers.require(chosen)
    if prompt is not None:
        _check_prompt(embedder, chosen, prompt)
    roles = resolve_roles(source, columns, {chosen: ""})
    part = "image" if chosen == "image" else "text.0"
    column = roles.column_of(part)
    assert column is not None
    reader = RowReader(source, roles, (part,))
    if chosen == "image":
        check_paths_exist(reader, len(source.dataset))
    return RowsToEmbed(source, chosen, column, id_column, reader, prompt)


def _check_prompt(embedder: ModelEmbedder, what: Modality, prompt: str) -> None:
    if what == "image":
        raise UserError(f"--prompt: a prompt goes before texts, and pictures are embedded; got {prompt}")
    try:
        embedder.model.prompts.text_of(prompt)
    except UserError as error:
        raise UserError(f"--prompt: {error}") from error
