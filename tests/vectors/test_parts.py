from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmcl.data.quarantine import QuarantineRecord
from mmcl.errors import UserError
from mmcl.vectors.parts import Part, Parts, unit_norm


def part(first_id: int, num_rows: int = 2) -> Part:
    vectors = np.full((num_rows, 4), 0.5, dtype=np.float32)
    return Part(pa.array(range(first_id, first_id + num_rows)), vectors, (QuarantineRecord(first_id + 9, None, "why"),))


def test_parts_come_back_in_the_order_of_their_rows(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "v.parquet", {"model": "x"})
    for start in (8, 0, 16):
        parts.write(start, part(start))
    again = list(Parts(tmp_path / "v.parquet", {"model": "x"}))
    assert [one.ids.to_pylist() for one in again] == [[0, 1], [8, 9], [16, 17]]
    assert [one.left_out[0].sample_id for one in again] == [9, 17, 25]
    assert np.array_equal(again[0].vectors, part(0).vectors)
    assert [parts.has(start) for start in (0, 4, 8)] == [True, False, True]


def test_parts_of_another_job_are_never_mixed_in(tmp_path: Path) -> None:
    Parts(tmp_path / "v.parquet", {"model": "x", "rows": 3}).write(0, part(0))
    with pytest.raises(UserError, match=r"was begun: rows was 3, now 4; give another --output, or remove .*parts"):
        Parts(tmp_path / "v.parquet", {"model": "x", "rows": 4})
    Parts(tmp_path / "w.parquet", {"model": "x", "rows": 4})


def test_a_part_that_was_being_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(tmp_path / "v.parquet", {})

    def write_half(table: pa.Table, path: Path) -> None:
        path.write_bytes(b"PAR1 half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmcl.vectors.parts.pq.write_table", write_half)
        with pytest.raises(KeyboardInterrupt):
            parts.write(0, part(0))
    assert not parts.has(0)
    assert list(parts) == []
    parts.write(0, part(0))
    assert [one.ids.to_pylist() for one in parts] == [[0, 1]]


def test_an_empty_part_keeps_its_records(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "v.parquet", {})
    parts.write(0, part(0, num_rows=0))
    (found,) = parts
    assert found.vectors.shape == (0, 4)
    assert len(found.left_out) == 1


def test_removed_they_are_gone(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "v.parquet", {})
    parts.write(0, part(0))
    parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_direction_is_told() -> None:
    rows = np.array([[0.6, 0.8], [0, 0], [np.nan, 1], [0.6, 0.9], [np.inf, 0]], dtype=np.float32)
    assert unit_norm(rows).tolist() == [True, False, False, False, False]
