from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mmcl.errors import UserError
from mmcl.vectors.stored import check_stored, read_columns, stored_columns, truncated


def unit_rows(num_rows: int, width: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num_rows, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_float32_is_kept_bit_by_bit() -> None:
    rows = unit_rows(7, 5)
    assert np.array_equal(read_columns(stored_columns(rows, "fp32")), rows)


def test_fp16_is_the_nearest_half() -> None:
    rows = unit_rows(7, 5)
    columns = stored_columns(rows, "fp16")
    assert columns["vector"].type == pa.list_(pa.float16(), 5)
    assert np.array_equal(read_columns(columns), rows.astype(np.float16).astype(np.float32))


def test_int8_times_its_scale_is_within_half_a_scale() -> None:
    rows = unit_rows(50, 6)
    columns = stored_columns(rows, "int8")
    assert columns["vector"].type == pa.list_(pa.int8(), 6)
    numbers = np.array(columns["vector"].to_pylist())
    assert (np.abs(numbers).max(axis=1) == 127).all(), "the whole range is used"
    scale = columns["scale"].to_numpy()[:, None]
    assert (np.abs(numbers * scale - rows) <= scale * 0.5001).all()
    assert np.array_equal(read_columns(pa.table(columns)), numbers.astype(np.float32) * scale)


def test_int8_of_known_numbers() -> None:
    columns = stored_columns(np.array([[0.6, -0.8, 0.0]], dtype=np.float32), "int8")
    assert columns["vector"].to_pylist() == [[95, -127, 0]]
    assert columns["scale"].to_pylist() == [pytest.approx(0.8 / 127)]


def test_truncation_renormalises() -> None:
    rows = np.array([[0.6, 0.0, 0.8], [0.0, 0.6, 0.8]], dtype=np.float32)
    np.testing.assert_allclose(truncated(rows, 2), [[1, 0], [0, 1]])
    assert truncated(rows, 3) is rows
    assert truncated(rows[:0], 2).shape == (0, 2)


def test_a_vector_with_nothing_left_is_refused_not_made_up() -> None:
    with pytest.raises(UserError, match="--dim: 1 vectors are zero in their first 1 dimensions"):
        truncated(np.array([[0.6, 0.8], [0.0, 1.0]], dtype=np.float32), 1)


@pytest.mark.parametrize(
    ("dim", "dtype", "message"),
    [
        (0, "fp32", "--dim must be from 1 to 8, the dimensions of the model, got 0"),
        (9, "fp32", "--dim must be from 1 to 8, the dimensions of the model, got 9"),
        (8, "fp8", "--dtype must be fp32, fp16 or int8, got fp8"),
    ],
)
def test_what_cannot_be_stored_is_refused(dim: int, dtype: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_stored(dim, dtype, 8)
    check_stored(8, "int8", 8)
    check_stored(None, "fp16", 8)
