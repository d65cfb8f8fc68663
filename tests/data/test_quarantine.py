from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mmcl.data.quarantine import Quarantine, QuarantineRecord
from mmcl.errors import UserError


def _record(sample_id: int = 3) -> QuarantineRecord:
    return QuarantineRecord(sample_id, 1, "damaged picture", "a.png", "pairs.jsonl")


def test_line_is_on_disk_as_soon_as_it_is_added(tmp_path: Path) -> None:
    quarantine = Quarantine(max_unreadable=0.5)
    quarantine.write_to(tmp_path)
    quarantine.add([_record()], num_seen=10)
    quarantine.add([], num_seen=10)
    expected = {"sample_id": 3, "epoch": 1, "reason": "damaged picture", "path": "a.png", "source": "pairs.jsonl"}
    assert json.loads((tmp_path / "quarantine.jsonl").read_text()) == expected
    assert (quarantine.num_quarantined, quarantine.num_seen) == (1, 20)


def test_each_line_is_one_appending_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, write = [], os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: written.append(data) or write(descriptor, data))
    (tmp_path / "quarantine.jsonl").write_text('{"of": "another process"}\n')
    quarantine = Quarantine(1.0)
    quarantine.write_to(tmp_path)
    quarantine.add([_record(1), _record(2)], num_seen=2)
    assert [json.loads(line)["sample_id"] for line in written] == [1, 2]
    assert len((tmp_path / "quarantine.jsonl").read_text().splitlines()) == 3


def test_rate_above_the_limit_stops() -> None:
    quarantine = Quarantine(max_unreadable=0.01)
    quarantine.add([_record(index) for index in range(10)], num_seen=1_000)
    with pytest.raises(UserError, match=r"11 of 1,001 rows cannot be used, more than the 1.00% .* row 77 .*damaged"):
        quarantine.add([_record(77)], num_seen=1)


def test_one_bad_row_among_the_first_does_not_stop() -> None:
    quarantine = Quarantine(max_unreadable=0.01)
    quarantine.add([_record()], num_seen=4)
    with pytest.raises(UserError):
        Quarantine(max_unreadable=0.01, rows_per_epoch=50).add([_record()], num_seen=4)


def test_zero_allows_none() -> None:
    with pytest.raises(UserError, match=r"more than the 0.00% allowed"):
        Quarantine(max_unreadable=0.0).add([_record()], num_seen=1_000_000)


def test_held_rows_are_written_by_one_process_and_once(tmp_path: Path) -> None:
    for is_first, is_resumed in ((False, False), (True, True), (True, False)):
        quarantine = Quarantine(0.5)
        quarantine.hold([_record()], num_seen=10)
        quarantine.write_to(tmp_path)
        quarantine.open(is_first, is_resumed)
        quarantine.open(is_first, is_resumed)
    assert len((tmp_path / "quarantine.jsonl").read_text().splitlines()) == 1


def test_too_many_held_rows_stop() -> None:
    with pytest.raises(UserError, match="2 of 10 rows"):
        Quarantine(0.1).hold([_record(1), _record(2)], num_seen=10)


def test_without_a_folder_it_only_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quarantine = Quarantine(0.5)
    quarantine.add([_record()], num_seen=10)
    assert quarantine.num_quarantined == 1
    assert list(tmp_path.iterdir()) == []


def test_one_bad_row_of_a_few_held_rows_does_not_stop() -> None:
    Quarantine(0.01, rows_per_epoch=3_000).hold([_record()], num_seen=60)
    with pytest.raises(UserError, match="11 of 60 rows"):
        Quarantine(0.01, rows_per_epoch=3_000).hold([_record()] * 11, num_seen=60)
    with pytest.raises(UserError, match="1 of 20 rows"):
        Quarantine(0.01, rows_per_epoch=50).hold([_record()], num_seen=20)
