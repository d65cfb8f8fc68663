from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcl.data.loader import build_train_data
from tests.data.builders import (
    PREPROCESSING,
    CharacterTokenizer,
    recipe,
    wanting,
    write_lines,
    write_partial,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("empty_cache")

CLIP, SIMCLR, SIMCSE = ("image.0", "text.0"), ("image.0", "image.1"), ("text.0", "text.0")


def _remarks(file: Path, *objectives: Any, **data: Any) -> tuple[str, ...]:
    train = wanting(recipe(file, image_views=[{"count": 2}], **data), *objectives)
    return build_train_data(train, PREPROCESSING, CharacterTokenizer()).remarks


def test_first_says_which_rows_and_columns(tmp_path: Path) -> None:
    first = _remarks(write_partial(tmp_path), CLIP, SIMCLR, SIMCSE, max_unreadable=0.5)[0]
    assert first == "60 rows of partial.jsonl   image <- image   text <- text   label <- label"


def test_partly_paired_rows_are_counted(tmp_path: Path) -> None:
    remarks = _remarks(write_partial(tmp_path), CLIP, SIMCLR, SIMCSE, max_unreadable=0.5)
    assert "30 rows have both picture and caption, 15 a caption alone, 10 a picture alone" in remarks
    left_out = "5 rows that no objective can use are left out: 5 because "
    assert left_out + "the picture is missing; the caption is missing or empty" in remarks


def test_paired_rows_are_not_counted(tmp_path: Path) -> None:
    remarks = _remarks(write_partial(tmp_path), CLIP, max_unreadable=1)
    assert not any("rows have" in remark and "caption" in remark for remark in remarks)


def test_three_parts_are_listed(tmp_path: Path) -> None:
    rows = [{"text": "a", "positive": "b", "negatives": "c" if index < 4 else None} for index in range(6)]
    file = write_lines(tmp_path / "a.jsonl", rows)
    remarks = _remarks(file, SIMCSE, ("text.0", "text.1", "text.2"))
    assert "4 rows have caption, positive and hard negative (text.2), 2 both caption and positive" in remarks


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    remarks = _remarks(write_partial(tmp_path), SIMCLR, max_unreadable=0.5)
    assert "20 rows have a label, of 5 classes; 20 have none" in remarks


def test_held_out_rows_say_how_many_can_be_judged_by(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 40)
    rows = [{"image": name, "text": None if index % 2 else f"t{index}"} for index, name in enumerate(names)]
    remarks = _remarks(write_lines(tmp_path / "a.jsonl", rows), CLIP, SIMCLR, validation=0.4)
    (held,) = [remark for remark in remarks if remark.startswith("held out")]
    assert held == "held out: 22 rows of 22 groups; only the 10 that are complete can be judged on"


def test_rows_that_share_a_text_in_whatever_role_are_counted(tmp_path: Path) -> None:
    rows = [{"text": f"t{row}", "positive": f"p{row}", "negatives": f"n{row}"} for row in range(10)]
    rows[1]["positive"], rows[2]["negatives"] = " T0 ", "P3"
    file = write_lines(tmp_path / "a.jsonl", rows)
    pairs = ("text.0", "text.1", "text.2")
    said = "30.0% of the rows share a text with another after normalisation: never negatives of each other"
    assert said in _remarks(file, pairs)
    assert not any("share a text" in remark for remark in _remarks(file, pairs, equal_texts="never"))
    templated = _remarks(file, pairs, equal_texts="templated")
    assert any(
        remark.startswith("100.0% of the rows share a text with another after normalisation, but for numbers")
        for remark in templated
    )
