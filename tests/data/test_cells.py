from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcl.data.cells import cell_of, names_in, read_cells
from mmcl.data.evaluation_rows import open_evaluation_rows
from mmcl.data.loader import TrainData, build_train_data
from mmcl.data.sources import open_source
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import CharacterTokenizer, Wants, recipe, texts_of, wanting, write_lines

ROWS: list[dict[str, Any]] = [
    {"a": "one", "b": ["two", "three"], "c": "x"},
    {"a": None, "b": [], "c": "y"},
    {"a": "four", "b": None, "c": None},
]


def _data(train: Recipe) -> TrainData:
    return build_train_data(wanting(train, Wants(("text.0",))), None, CharacterTokenizer())


def test_cells_of_several_columns_are_one_list() -> None:
    assert cell_of(ROWS[0], ("a", "b")) == ["one", "two", "three"]
    assert cell_of(ROWS[2], ("a", "b")) == ["four", None]
    assert cell_of(ROWS[0], "b") == ["two", "three"]
    assert cell_of(ROWS[0], None) is None


def test_each_column_is_named_once() -> None:
    assert names_in("c", ("a", "c"), None, "b") == ["c", "a", "b"]


def test_cells_are_read_row_by_row(tmp_path: Path) -> None:
    source = open_source(SourceConfig(path=str(write_lines(tmp_path / "a.jsonl", ROWS))))
    read = list(read_cells(source, ("a", "b"), None, "c"))
    assert read == [(["one", "two", "three"], None, "x"), ([None], None, "y"), (["four", None], None, None)]
    assert list(read_cells(source, None, None)) == [(None, None)] * 3


@pytest.mark.parametrize("streaming", [False, True])
def test_texts_of_all_columns_are_captions_of_the_row(tmp_path: Path, streaming: bool) -> None:
    source = {"path": str(write_lines(tmp_path / "a.jsonl", ROWS[:1] * 3)), "streaming": streaming}
    data = _data(recipe(source, batch_size=3, columns={"text": ["a", "b"]}))
    batches = data.batches()
    drawn = {text for _ in range(12) for text in texts_of(next(batches).texts[0])}
    assert drawn == {"one", "two", "three"}


def test_row_is_left_out_only_where_all_columns_are_empty(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ROWS)
    data = _data(recipe(path, batch_size=2, columns={"text": ["a", "b"]}, max_unreadable=1.0))
    assert sorted(next(data.batches()).sample_ids.tolist()) == [0, 2]


def test_one_of_several_sources_may_have_several_columns(tmp_path: Path) -> None:
    several = {"path": str(write_lines(tmp_path / "a.jsonl", ROWS[:1])), "columns": {"anchor": ["c", "a"]}}
    one = {"path": str(write_lines(tmp_path / "b.jsonl", [{"text": "five"}]))}
    batch = next(_data(recipe([several, one], batch_size=2)).batches())  # type: ignore[arg-type]
    assert set(texts_of(batch.texts[0])) in ({"five", "x"}, {"five", "one"})


def test_rows_are_judged_by_the_texts_of_all_columns(tmp_path: Path) -> None:
    source = SourceConfig(path=str(write_lines(tmp_path / "a.jsonl", ROWS)))
    rows = open_evaluation_rows(source, ColumnsConfig(text=("a", "b")), max_pixels=100, max_unreadable=1.0)
    assert rows.texts == [["one", "two", "three"], ["four"]]
