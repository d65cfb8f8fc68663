"""The outcome of every example as a parquet file beside the result, so that models can be compared years later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from evaluation.results import TaskResult

SUFFIX = ".parquet"
_CLASS_NAMES = b"class_names"
_OF_CLASSES = ("label", "prediction")
"""What columns begin with that hold indices of classes; a file has the names."""


def write_predictions(path: str | Path, result: TaskResult) -> Path:
    """Write a result's ``examples`` to a parquet file, a column each; an older file is replaced whole or not at all.

    Columns of classes hold their names, where the result knows them. A column that is shorter than the longest ends in
    nulls: the pictures and the texts of retrieval are not as many. An array of ``(N, S)`` is a column of lists of S.

    Raises:
        EvaluationError: pyarrow is not installed.
    """
    pa, parquet = _pyarrow()
    path, names = Path(path), result.class_names
    num_rows = max((len(array) for array in result.examples.values()), default=0)
    columns = {}
    for column, array in result.examples.items():
        values = np.array(names)[array] if names and column.startswith(_OF_CLASSES) else array
        columns[column] = _padded(pa, values, num_rows)
    table = pa.table(columns)
    if names:
        table = table.replace_schema_metadata({_CLASS_NAMES: json.dumps(names)})
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    parquet.write_table(table, aside, compression="zstd")
    aside.replace(path)
    return path


def read_predictions(path: str | Path) -> dict[str, NDArray[Any]]:
    """Return the columns that `write_predictions` wrote, without the nulls at their ends; classes by their names.

    Raises:
        EvaluationError: a file that is missing or no parquet file, or pyarrow is not installed.
    """
    return _read(path)[0]


def read_examples(path: str | Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return the ``examples`` of a result as it had them, classes as indices, and the names of the classes.

    Raises:
        EvaluationError: as `read_predictions`.
    """
    found, names = _read(path)
    index_of = {name: index for index, name in enumerate(names)}
    for column in found if names else ():
        if column.startswith(_OF_CLASSES):
            indices = [index_of[name] for name in found[column].ravel().tolist()]
            found[column] = np.array(indices, dtype=np.int64).reshape(found[column].shape)
    return found, names


def _read(path: str | Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    pa, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise EvaluationError(f"{path}: no file of predictions: {error}") from error
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    names: Sequence[str] = json.loads(metadata.get(_CLASS_NAMES, b"[]"))
    return {column: _trimmed(pa, table[column]) for column in table.column_names}, tuple(names)


def _padded(pa: ModuleType, values: NDArray[Any], num_rows: int) -> Any:
    if values.ndim > 1:
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    else:
        column = pa.array(values.tolist() if values.dtype.kind == "U" else values)
    return pa.concat_arrays([column, pa.nulls(num_rows - len(column), column.type)])


def _trimmed(pa: ModuleType, column: Any) -> NDArray[Any]:
    kept = column.slice(0, len(column) - column.null_count).combine_chunks()
    if pa.types.is_fixed_size_list(kept.type):
        return _as_array(pa, kept.flatten()).reshape(len(kept), kept.type.list_size)
    return _as_array(pa, kept)


def _as_array(pa: ModuleType, column: Any) -> NDArray[Any]:
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=np.str_)
    found: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise EvaluationError("outcomes of examples are kept as parquet: pip install pyarrow") from error
    return pyarrow, pyarrow.parquet
