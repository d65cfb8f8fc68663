"""Embedding every row of a data set: in parts, which a killed call leaves behind and the next one goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

import mmcl
from mmcl.data.hashing import Int64Array
from mmcl.data.quarantine import Quarantine, QuarantineRecord
from mmcl.embedder import ModelEmbedder
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.vectors.parts import METADATA_KEY, Parts, first_difference, written_whole
from mmcl.vectors.recall import Recall, draw_queries, measure_recall
from mmcl.vectors.rows import RowsToEmbed, open_rows
from mmcl.vectors.stored import Dtype, Vectors, check_stored, read_columns, stored_columns, truncated

ROWS_PER_PART = 4_096

_SUFFIX = ".parquet"


@dataclass(frozen=True)
class EmbedReport:
    """What was embedded.

    Attributes:
        output: the parquet file: a column ``id``, a column ``vector``, of int8 a column ``scale``.
        num_rows: rows of the source.
        num_vectors: rows in the file; a row of the source with several captions has several.
        num_left_out: rows that could not be embedded.
        quarantine: where they are written down, with reasons; None where there are none.
        dim_recall: what cutting off dimensions keeps of the nearest neighbours; None where none were.
        dtype_recall: what the smaller type keeps of them; None for float32.
        was_there: nothing was done, for the same call had been finished before.
    """

    output: Path
    num_rows: int
    num_vectors: int
    num_left_out: int
    quarantine: Path | None
    dim_recall: Recall | None = None
    dtype_recall: Recall | None = None
    was_there: bool = False


def embed_rows(
    embedder: ModelEmbedder,
    source: SourceConfig,
    output: Path,
    *,
    columns: ColumnsConfig | None = None,
    what: str | None = None,
    id_column: str | None = None,
    prompt: str | None = None,
    dim: int | None = None,
    dtype: Dtype = "fp32",
    progress: Callable[[int, int], None] = lambda num_done, num_rows: None,
) -> EmbedReport:
    """Embed every row of a data set into a parquet file. Memory is bounded by 4,096 rows.

    A call that is killed leaves its parts beside ``output``; the same call goes on from them. A finished file is left
    alone.

    Args:
        embedder: the model; how many rows it takes at a time is its own.
        source: the rows.
        output: ends in ``.parquet``.
        columns: which hold the pictures and the texts; by default ``image`` and ``text``.
        what: ``image`` or ``text``; None where only one is both in the data and in the model.
        id_column: that names the rows; by default their positions, from 0.
        prompt: name of the model's prompt that goes before every text.
        dim: keep only the first so many dimensions, brought to unit norm again; by default all.
        dtype: of the numbers that are kept.
        progress: told rows done and rows in all, before the first part and after each.

    Raises:
        UserError: for whatever is wrong with the source, when ``output`` or its parts are of another call, or when no
            row can be embedded.
    """
    if output.suffix != _SUFFIX:
        raise UserError(f"--output must end in {_SUFFIX}, got {output}")
    check_stored(dim, dtype, embedder.model.embedding_dim)
    rows = open_rows(source, columns or ColumnsConfig(), embedder, what, id_column, prompt)
    identity = _identity(embedder, rows, source)
    stored = {**identity, "dim": dim or embedder.model.embedding_dim, "dtype": dtype}
    if output.exists():
        return _finished(output, stored)
    parts = Parts(output, identity)
    _write_parts(parts, rows, embedder, progress)
    report = _join(parts, output, stored)
    parts.remove()
    return report


def _identity(embedder: ModelEmbedder, rows: RowsToEmbed, source: SourceConfig) -> dict[str, Any]:
    """Return what makes two embeddings the same, size and type of the numbers apart."""
    path = Path(source.path)
    return {
        "format": 1,
        "model": embedder.fingerprint,
        "what": rows.what,
        "data": str(path.resolve()) if path.exists() else source.path,
        "split": source.split,
        "limit": source.limit,
        "column": rows.column,
        "id_column": rows.id_column,
        "prompt": rows.prompt,
        "num_rows": len(rows),
        "rows": rows.digest(),
        "rows_per_part": ROWS_PER_PART,
    }


def _finished(output: Path, stored: dict[str, Any]) -> EmbedReport:
    """Return the report of an earlier call.

    Raises:
        UserError: ``output`` is of another one, or no such file.
    """
    try:
        found = json.loads(pq.read_schema(output).metadata[METADATA_KEY])
        there = found["job"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--output: {output} holds something that is no embedding; give another --output") from error
    difference = first_difference(there, stored)
    if difference is not None:
        raise UserError(f"--output: {output} is another embedding: {difference}; give another --output")
    dim_recall, dtype_recall = (None if recall is None else Recall(**recall) for recall in found["recalls"])
    return EmbedReport(
        output,
        num_rows=stored["num_rows"],
        num_vectors=found["num_vectors"],
        num_left_out=found["num_left_out"],
        quarantine=_quarantine_path(output) if found["num_left_out"] else None,
        dim_recall=dim_recall,
        dtype_recall=dtype_recall,
        was_there=True,
    )


def _write_parts(
    parts: Parts, rows: RowsToEmbed, embedder: ModelEmbedder, progress: Callable[[int, int], None]
) -> None:
    starts = range(0, len(rows), ROWS_PER_PART)
    missing = [start for start in starts if not parts.has(start)]
    num_done = len(rows) - sum(min(ROWS_PER_PART, len(rows) - start) for start in missing)
    progress(num_done, len(rows))
    for start in missing:
        stop = min(start + ROWS_PER_PART, len(rows))
        parts.write(start, rows.embed(embedder, start, stop))
        num_done += stop - start
        progress(num_done, len(rows))


def _join(parts: Parts, output: Path, stored: dict[str, Any]) -> EmbedReport:
    """Measure what the smaller numbers cost, and write the parts as one file."""
    dim, dtype = stored["dim"], stored["dtype"]
    left_out = [record for part in parts for record in part.left_out]
    num_vectors = sum(len(part.ids) for part in parts)
    if not num_vectors:
        parts.remove()  # or they would stand in the way of the mended data
        raise UserError(f"data: no row of {stored['data']} can be embedded: {left_out[0].reason}")
    recalls = _measure(parts, num_vectors, dim, dtype)
    metadata = {
        "mmcl_version": mmcl.__version__,
        "job": stored,
        "num_vectors": num_vectors,
        "num_left_out": len(left_out),
        "recalls": [None if recall is None else asdict(recall) for recall in recalls],
    }
    quarantine = _write_quarantine(output, left_out)
    with written_whole(output) as aside:
        _write_file(parts, aside, dim, dtype, json.dumps(metadata).encode())
    return EmbedReport(output, stored["num_rows"], num_vectors, len(left_out), quarantine, *recalls)


def _measure(parts: Parts, num_vectors: int, dim: int, dtype: Dtype) -> tuple[Recall | None, Recall | None]:
    """Compare all dimensions with those kept, and those kept in float32 with the same as they are stored."""
    places = draw_queries(num_vectors)
    queries = _vectors_at(parts, places)
    kept = truncated(queries, dim)
    dim_recall = dtype_recall = None
    if dim < queries.shape[1]:
        cut = ((part.vectors, truncated(part.vectors, dim)) for part in parts)
        dim_recall = measure_recall(cut, (queries, kept), places, num_vectors)
    if dtype != "fp32":
        exact = (truncated(part.vectors, dim) for part in parts)
        smaller = ((rows, read_columns(stored_columns(rows, dtype))) for rows in exact)
        # A query is not stored: it comes from the model in float32.
        dtype_recall = measure_recall(smaller, (kept, kept), places, num_vectors)
    return dim_recall, dtype_recall


def _vectors_at(parts: Parts, places: Int64Array) -> Vectors:
    found, start = [], 0
    for part in parts:
        inside = places[(places >= start) & (places < start + len(part.ids))]
        found.append(part.vectors[inside - start])
        start += len(part.ids)
    return np.concatenate(found)


def _write_file(parts: Parts, path: Path, dim: int, dtype: Dtype, metadata: bytes) -> None:
    writer = None
    try:
        for part in parts:
            table = pa.table({"id": part.ids, **stored_columns(truncated(part.vectors, dim), dtype)})
            table = table.replace_schema_metadata({METADATA_KEY: metadata})
            writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=["id"])
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _quarantine_path(output: Path) -> Path:
    return output.with_suffix(".quarantine.jsonl")


def _write_quarantine(output: Path, left_out: list[QuarantineRecord]) -> Path | None:
    path = _quarantine_path(output)
    path.unlink(missing_ok=True)
    if not left_out:
        return None
    quarantine = Quarantine(max_unreadable=1.0)
    quarantine.path = path
    quarantine.add(left_out, num_seen=len(left_out))
    return path
