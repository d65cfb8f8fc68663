from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcl.data.captions import RowScan, captions_of, group_id, normalise_text, scan_rows
from mmcl.data.columns import resolve_roles
from mmcl.data.hashing import stable_id
from mmcl.data.sources import open_source
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import write_lines

pytestmark = pytest.mark.usefixtures("empty_cache")


def _scan(file: Path, num_bytes: int | None = None, **columns: str) -> RowScan:
    source = open_source(SourceConfig(path=str(file)))
    return scan_rows(source, resolve_roles(source, ColumnsConfig(**columns), ()), "data.columns.text", num_bytes)


def test_text_is_compared_without_case_width_and_spacing() -> None:
    assert normalise_text("  Ｒed\u00a0 STRASSE\n") == normalise_text("red straße") == "red strasse"
    assert normalise_text("red") != normalise_text("réd")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", ("a",)), (" a b ", (" a b ",)), (["a", None, " ", "b"], ("a", "b")), (["a"], ("a",))],
)
def test_usable_captions_are_kept_as_they_are(value: Any, expected: tuple[str, ...]) -> None:
    assert captions_of(value) == expected


@pytest.mark.parametrize("value", [None, "", " \n", [], [None], ["", " "]])
def test_missing_caption_has_a_reason(value: Any) -> None:
    with pytest.raises(ValueError, match="the caption is missing or empty"):
        captions_of(value)


@pytest.mark.parametrize("value", [5, float("nan"), True, ["a", 5], {"a": 1}])
def test_caption_that_is_no_text_has_a_reason(value: Any) -> None:
    with pytest.raises(ValueError, match="which is no text"):
        captions_of(value)


def test_group_is_the_column_or_else_the_text() -> None:
    assert group_id("g1", ["a"]) == group_id("g1", ["b"]) == stable_id("g1")
    assert group_id(None, ["A  b"]) == group_id(float("nan"), ["a B"]) != group_id(None, ["ab"])
    assert group_id(None, ["a", "b"]) != group_id(None, ["a"])
    assert group_id("5", ["a"]) == group_id(5.0, ["b"])
    assert group_id(None, ["5"]) != group_id("5", ["a"])


def test_scan_finds_groups_and_unusable_rows(tmp_path: Path) -> None:
    rows = [
        {"image": "a", "text": ["Red shirt"], "group": "1"},
        {"image": "b", "text": ["red  SHIRT"], "group": None},
        {"image": "c", "text": [], "group": "1"},
        {"image": "d", "text": ["red shirt"], "group": None},
    ]
    scan = _scan(write_lines(tmp_path / "a.jsonl", rows))
    assert scan.is_usable.tolist() == [True, True, False, True]
    assert [(record.sample_id, record.epoch) for record in scan.unusable] == [(2, None)]
    ids = scan.group_ids
    assert ids[0] == stable_id("1")
    assert ids[1] == ids[3] != ids[0]
    assert ids[2] == 0
    assert scan.num_captions == 3


def test_missing_caption_of_a_csv_file_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,text\na.png,\nb.png,nan\nc.png,x\n")
    scan = _scan(tmp_path / "a.csv")
    assert scan.is_usable.tolist() == [False, False, True]
    assert {record.reason for record in scan.unusable} == {"the caption is missing or empty"}


def test_csv_column_of_numbers_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,price\na.png,1.5\nb.png,\nc.png,7\n")
    with pytest.raises(UserError, match=r'data.columns.text: "price" in a.csv holds numbers, not text'):
        _scan(tmp_path / "a.csv", text="price")
    (tmp_path / "b.csv").write_text("image,title\na.png,1984\nb.png,Animal Farm\n")
    assert _scan(tmp_path / "b.csv", text="title").is_usable.all()


def test_long_captions_are_kept_and_counted(tmp_path: Path) -> None:
    rows = [{"image": "a", "text": text} for text in ("short", "a longer one", "中文中文")]
    scan = _scan(write_lines(tmp_path / "a.jsonl", rows), num_bytes=10)
    assert (scan.long_captions, scan.num_long_captions) == (["a longer one", "中文中文"], 2)


def test_without_text_every_row_is_usable_and_its_own_group(tmp_path: Path) -> None:
    scan = _scan(write_lines(tmp_path / "a.jsonl", [{"image": "a"}, {"image": "a"}]))
    assert scan.is_usable.all()
    assert scan.group_ids[0] != scan.group_ids[1]
