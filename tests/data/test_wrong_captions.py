"""Wrong captions, read from their columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.data.wrong_captions import read_wrong_captions
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, SourceConfig


def read(folder: Path, lines: list[str], positions: list[int], **columns: object) -> list[list[str]] | None:
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    source = SourceConfig(path=str(folder / "rows.csv"))
    return read_wrong_captions(source, ColumnsConfig.model_validate(columns), positions, "evaluate.0.data")


def test_the_columns_of_a_row_come_together_and_rows_by_their_positions(tmp_path: Path) -> None:
    lines = ["text,one,two", "a,b,c", "d,e,f", "g,h,i"]
    assert read(tmp_path, lines, [2, 0], negatives=["one", "two"]) == [["h", "i"], ["b", "c"]]
    assert read(tmp_path, lines, [1], negatives="two") == [["f"]]


def test_a_column_of_the_roles_name_needs_no_naming_and_none_gives_none(tmp_path: Path) -> None:
    lines = ["text,negatives", "a,b"]
    assert read(tmp_path, lines, [0]) == [["b"]]
    assert read(tmp_path, lines, [0], negatives=False) is None
    assert read(tmp_path, ["text,wrong", "a,b"], [0]) is None


def test_a_row_without_a_wrong_caption_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate.0.data: row 1 of rows.csv lacks a wrong caption: the caption is"):
        read(tmp_path, ["text,negatives", "a,b", "c,"], [0, 1])
