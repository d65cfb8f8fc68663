from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from mmcl.data.column_facts import ColumnFacts, look_at_columns
from mmcl.data.sources import open_source
from mmcl.recipe_data import SourceConfig
from tests.data.builders import encoded, picture, write_lines, write_pictures

pytestmark = pytest.mark.usefixtures("empty_cache")


def _facts(path: Path, **source: Any) -> dict[str, ColumnFacts]:
    return {fact.name: fact for fact in look_at_columns(open_source(SourceConfig(path=str(path), **source)))}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures", 40)
    rows = [
        {
            "where": f"pictures/{index}.png" if index else "pictures/gone.png",
            "missing": f"gone/{index}.png",
            "url": f"https://x.y/{index}.jpg",
            "title": f"a hat, number {index}" if index % 4 else "",
            "words": ["a hat", "ein Hut"],
            "sku": f"AB-{index // 2}",
            "price": index / 3,
            "kind": ["hat", "shoe"][index % 2],
            "nothing": None,
        }
        for index in range(40)
    ]
    return write_lines(tmp_path / "a.jsonl", rows)


def test_pictures_are_told_by_opening_them(table: Path) -> None:
    facts = _facts(table)
    assert [name for name, fact in facts.items() if fact.holds_pictures] == ["where"]
    assert (facts["where"].num_pictures, facts["where"].num_opened) == (15, 16)
    assert [name for name, fact in facts.items() if fact.names_pictures] == ["where", "missing", "url"]
    assert facts["url"].num_addresses == 40


def test_texts_are_words_and_not_ids_numbers_paths_or_addresses(table: Path) -> None:
    facts = _facts(table)
    assert [name for name, fact in facts.items() if fact.holds_texts] == ["title", "words", "kind"]


def test_values_are_counted_over_all_rows(table: Path) -> None:
    facts = _facts(table)
    assert (facts["title"].num_present, facts["title"].num_distinct, facts["nothing"].num_present) == (30, 30, 0)
    assert (facts["sku"].num_distinct, facts["kind"].num_distinct, facts["words"].num_distinct) == (20, 2, None)
    assert [name for name, fact in facts.items() if fact.has_few_values] == ["kind"]
    assert [name for name, fact in facts.items() if fact.repeats and fact.holds_whole_values] == ["sku", "kind"]


def test_pictures_may_be_bytes(tmp_path: Path) -> None:
    rows = {"data": [encoded(picture(index)) for index in range(3)], "other": [b"no picture"] * 3}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "a.parquet"))
    facts = _facts(tmp_path / "a.parquet")
    assert (facts["data"].holds_pictures, facts["other"].holds_pictures) == (True, False)


def test_columns_that_say_what_they_are_are_believed(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_pictures(tmp_path / name, 1)
        (tmp_path / name / "0.png").write_bytes(b"no picture")
    facts = _facts(tmp_path)
    assert facts["image"].holds_pictures
    assert facts["label"].is_class_column
    assert facts["label"].num_distinct == 2


def test_the_librarys_own_columns_are_passed_over(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"__key__": "1", "text": "a hat"}])
    assert list(_facts(file)) == ["text"]


def test_limited_rows_are_counted_alone(table: Path) -> None:
    assert _facts(table, limit=6)["sku"].num_distinct == 3
