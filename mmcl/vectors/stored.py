"""What is kept of a vector: its first dimensions, in a smaller type."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mmcl.errors import UserError

Dtype = Literal["fp32", "fp16", "int8"]
DTYPES: tuple[Dtype, ...] = ("fp32", "fp16", "int8")
Vectors = NDArray[np.float32]

INT8_MAX = 127

_ARROW_TYPES = {"fp32": pa.float32(), "fp16": pa.float16(), "int8": pa.int8()}


def check_stored(dim: int | None, dtype: str, width: int) -> None:
    """Make sure that vectors can be stored so.

    Raises:
        UserError: ``dim`` is not from 1 to ``width``, or there is no such type.
    """
    if dtype not in DTYPES:
        raise UserError(f"--dtype must be {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {dtype}")
    if dim is not None and not 1 <= dim <= width:
        raise UserError(f"--dim must be from 1 to {width}, the dimensions of the model, got {dim}")


def truncated(vectors: Vectors, dim: int) -> Vectors:
    """Return the first ``dim`` dimensions of ``(N, D)`` unit vectors, ``(N, dim)``, of unit norm again.

    Raises:
        UserError: a vector is zero in all of them, and so has no direction left.
    """
    if dim == vectors.shape[1]:
        return vectors
    kept = vectors[:, :dim]
    norms = np.linalg.norm(kept, axis=1, keepdims=True)
    if len(kept) and norms.min() == 0:
        raise UserError(f"--dim: {(norms == 0).sum()} vectors are zero in their first {dim} dimensions; keep more")
    return kept / norms


def stored_columns(vectors: Vectors, dtype: Dtype) -> dict[str, pa.Array]:
    """Return the columns that hold ``(N, D)`` float32 vectors.

    ``vector`` is a list of D numbers per row. Of ``int8``, row n of ``vector`` times row n of ``scale`` (float32) is
    the vector, each number within half a scale; the largest number of a row is 127 or -127.
    """
    columns = {}
    numbers: NDArray[Any] = vectors
    if dtype == "fp16":
        numbers = vectors.astype(np.float16)
    elif dtype == "int8":
        scale = np.abs(vectors).max(axis=1) / np.float32(INT8_MAX)
        numbers = np.rint(vectors / scale[:, None]).astype(np.int8)
        columns["scale"] = pa.array(scale)
    flat = pa.array(np.ascontiguousarray(numbers).reshape(-1), type=_ARROW_TYPES[dtype])
    return {"vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]), **columns}


def read_columns(columns: Any) -> Vectors:
    """Return ``(N, D)`` float32 of the columns of `stored_columns`, in a table or a mapping."""
    vector = columns["vector"]
    vector = vector.combine_chunks() if isinstance(vector, pa.ChunkedArray) else vector
    numbers = vector.flatten().to_numpy(zero_copy_only=False).reshape(len(vector), vector.type.list_size)
    names = columns.column_names if isinstance(columns, pa.Table) else columns
    if "scale" not in names:
        return numbers.astype(np.float32)
    return numbers.astype(np.float32) * columns["scale"].to_numpy()[:, None]
