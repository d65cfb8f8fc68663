"""The parts of an embedding under way: each written whole or not at all, so that a killed one goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from mmcl.data.quarantine import QuarantineRecord
from mmcl.errors import UserError
from mmcl.vectors.stored import Vectors, read_columns, stored_columns

JOB_FILE = "job.json"
METADATA_KEY = b"mmcl"

Identity = Mapping[str, Any]
"""What may not change between two calls, as JSON values."""


@dataclass(frozen=True)
class Part:
    """Some rows of the source, embedded.

    Attributes:
        ids: ``(N,)`` one per vector.
        vectors: ``(N, D)`` float32 of unit norm.
        left_out: the rows that could not be embedded, with reasons.
    """

    ids: pa.Array
    vectors: Vectors
    left_out: tuple[QuarantineRecord, ...]


class Parts:
    """The folder of parts beside the file that they will be.

    Args:
        output: the file.
        identity: of the job; parts of another are never mixed in.

    Raises:
        UserError: parts of another job are there; the first difference is named.
    """

    def __init__(self, output: Path, identity: Identity) -> None:
        self.folder = output.with_name(f".{output.name}.parts")
        self.identity = dict(identity)
        path = self.folder / JOB_FILE
        if path.is_file():
            self._check_same(json.loads(path.read_text(encoding="utf-8")), output)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as aside:
            aside.write_text(json.dumps(self.identity, indent=2) + "\n", encoding="utf-8")

    def _check_same(self, other: dict[str, Any], output: Path) -> None:
        difference = first_difference(other, self.identity)
        if difference is not None:
            raise UserError(
                f"--output: another embedding into {output} was begun: {difference}; give another --output, or remove"
                f" {self.folder}"
            )

    def has(self, start: int) -> bool:
        """True when the part that begins at a row is there."""
        return self._path(start).is_file()

    def write(self, start: int, part: Part) -> None:
        """Write the part that begins at a row."""
        table = pa.table({"id": part.ids, **stored_columns(part.vectors, "fp32")})
        records = json.dumps([asdict(record) for record in part.left_out])
        with written_whole(self._path(start)) as aside:
            pq.write_table(table.replace_schema_metadata({METADATA_KEY: records.encode()}), aside)

    def __iter__(self) -> Iterator[Part]:
        """Read the parts in the order of their rows, one at a time."""
        for path in sorted(self.folder.glob("*.parquet")):
            table = pq.read_table(path)
            records = json.loads(table.schema.metadata[METADATA_KEY])
            left_out = tuple(QuarantineRecord(**record) for record in records)
            yield Part(table["id"].combine_chunks(), read_columns(table), left_out)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:015}.parquet"


def first_difference(there: Identity, asked: Identity) -> str | None:
    """Return the first field that differs between two identities, with both values; None when they are equal."""
    for name in asked:
        if there.get(name) != asked[name]:
            return f"{name.replace('_', ' ')} was {there.get(name)}, now {asked[name]}"
    return None


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file to write aside; flush it to disk and rename it to ``path`` when the block ends well."""
    aside = path.with_name(f".{path.name}.writing")
    yield aside
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.replace(path)


def unit_norm(vectors: Vectors) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return ``(N,)`` bool: which of ``(N, D)`` rows are finite and of unit norm within 0.001."""
    return np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3
