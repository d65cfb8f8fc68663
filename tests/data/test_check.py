from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcl.data.check import DataCheck, check_rows, measure_lengths, overlap_with, overlap_within
from mmcl.data.columns import resolve_roles
from mmcl.data.look import Look, look_at_rows
from mmcl.data.sources import open_source
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import CharacterTokenizer, write_lines, write_pictures

pytestmark = pytest.mark.usefixtures("empty_cache")


def _look(file: Path, tokenizer: CharacterTokenizer | None = None, **columns: Any) -> Look:
    source = open_source(SourceConfig(path=str(file)))
    return look_at_rows(source, resolve_roles(source, ColumnsConfig(**columns)), "data.columns", 10**6, tokenizer)


def _rows(folder: Path, number: int = 8) -> list[dict[str, Any]]:
    """Rows of which each two are a group; pictures and captions all differ."""
    names = write_pictures(folder, number)
    return [{"image": name, "text": f"hat {index}", "group": f"g{index // 2}"} for index, name in enumerate(names)]


def _check(folder: Path, rows: list[dict[str, Any]], max_unreadable: float = 1.0, **columns: Any) -> DataCheck:
    return check_rows(_look(write_lines(folder / "a.jsonl", rows), **columns), (), max_unreadable)


def test_rows_without_fault_have_none(tmp_path: Path) -> None:
    check = _check(tmp_path, _rows(tmp_path), max_unreadable=0.0)
    assert (check.num_rows, check.num_groups, check.num_classes) == (8, 4, None)
    assert check.unreadable == check.without_picture == check.without_caption == check.stops_training == ()
    assert check.pictures is not None
    assert check.texts is not None
    assert check.pictures.num_rows == check.texts.num_rows == check.texts.num_across_groups == 0


def test_what_is_wrong_is_said_by_row(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    (tmp_path / "6.png").write_bytes((tmp_path / "6.png").read_bytes()[:60])
    rows[1]["image"], rows[4]["text"] = None, " "
    check = _check(tmp_path, rows)
    ((bad),) = check.unreadable
    assert (bad.row, bad.path) == (6, str(tmp_path / "6.png"))
    assert "damaged" in bad.reason
    assert (check.without_picture, check.without_caption) == ((1,), (4,))


def test_repeats_are_told_within_and_across_groups(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    rows[1]["image"] = rows[0]["image"]  # of one group
    rows[7]["text"] = rows[2]["text"].upper()  # of two
    check = _check(tmp_path, rows)
    assert check.pictures is not None
    assert check.texts is not None
    assert (check.pictures.rows, check.pictures.num_across_groups) == (((0, 1),), 0)
    assert (check.texts.rows, check.texts.num_across_groups) == (((2, 7),), 1)


def test_without_a_group_column_nothing_is_said_of_groups(tmp_path: Path) -> None:
    check = _check(tmp_path, _rows(tmp_path), group=False)
    assert check.texts is not None
    assert (check.num_groups, check.texts.num_across_groups) == (None, None)


def test_what_a_run_would_stop_at_is_said(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    (tmp_path / "6.png").write_bytes(b"")
    assert _check(tmp_path, rows, max_unreadable=0.2).stops_training == ()
    (stop,) = _check(tmp_path, rows, max_unreadable=0.1).stops_training
    assert stop.startswith("data.max_unreadable: 1 of 8 rows cannot be used, more than the 10.00% allowed")
    rows[0]["text"] = ""
    assert len(_check(tmp_path, rows, max_unreadable=0.1).stops_training) == 2


def test_no_usable_row_stops(tmp_path: Path) -> None:
    rows = [{**row, "text": ""} for row in _rows(tmp_path, 2)]
    assert _check(tmp_path, rows).stops_training == (
        "data.train: no row of a.jsonl can be used: the caption is missing or empty",
    )


def test_lengths_are_counted_by_the_tokenizer(tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("x" * 20, "x" * 21, "x")]
    tokenizer = CharacterTokenizer(20)
    lengths = measure_lengths(_look(write_lines(tmp_path / "a.jsonl", rows), tokenizer), tokenizer, "some/model")
    assert (lengths.model, lengths.max_length, lengths.num_captions, lengths.num_cut) == ("some/model", 20, 3, 1)


def test_overlap_with_other_rows_is_by_group_picture_and_text(tmp_path: Path) -> None:
    train = _look(write_lines(tmp_path / "a.jsonl", _rows(tmp_path)))
    others = [
        {"image": "3.png", "text": "a coat", "group": "new"},
        {"image": None, "text": "HAT  5", "group": "newer"},
        {"image": None, "text": "a glove", "group": "g0"},
        {"image": None, "text": "a sock", "group": "newest"},
    ]
    file = write_lines(tmp_path / "b.jsonl", others)
    overlap = overlap_with(train, _look(file))
    assert overlap.rows == {"group": (2,), "picture": (0,), "text": (1,)}
    assert (overlap.num_rows, overlap.held_out, overlap.not_compared) == (4, "of b.jsonl", ())
    overlap = overlap_with(train, _look(file, group=False, image=False))
    assert (overlap.rows, overlap.not_compared) == ({"text": (1,)}, ("group", "picture"))


def test_overlap_within_a_source_leaves_out_what_cannot_be_used(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    rows[6]["image"] = rows[0]["image"]
    rows[7]["image"], rows[7]["text"] = rows[0]["image"], ""
    overlap = overlap_within(_look(write_lines(tmp_path / "a.jsonl", rows)), np.arange(8) >= 6)
    assert (overlap.num_rows, overlap.rows) == (1, {"group": (), "picture": (6,), "text": ()})
