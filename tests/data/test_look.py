from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcl.data.columns import resolve_roles
from mmcl.data.look import Look, look_at_rows
from mmcl.data.sources import open_source
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import CharacterTokenizer, write_lines, write_pictures

pytestmark = pytest.mark.usefixtures("empty_cache")


def _look(file: Path, tokenizer: CharacterTokenizer | None = None, **columns: Any) -> Look:
    source = open_source(SourceConfig(path=str(file)))
    return look_at_rows(source, resolve_roles(source, ColumnsConfig(**columns)), "data.columns", 10**6, tokenizer)


def _table(folder: Path) -> Path:
    names = write_pictures(folder, 5)
    (folder / names[2]).write_bytes(b"")
    captions = [["A  Hat", "a shoe"], "a hat", "a coat", "A sock", None]
    rows = [
        {"image": name if name != "1.png" else None, "text": captions[index], "group": str(index // 2), "label": "x"}
        for index, name in enumerate(names)
    ]
    rows[3]["label"] = ""
    for row in rows:
        row["text"] = row["text"] if isinstance(row["text"], list) else [row["text"]]
    return write_lines(folder / "a.jsonl", rows)


def test_a_look_finds_what_each_row_has(tmp_path: Path) -> None:
    look = _look(_table(tmp_path))
    assert look.num_rows == 5
    assert look.scan.has["image"].tolist() == [True, False, True, True, True]
    assert look.scan.has["text.0"].tolist() == [True, True, True, True, False]
    assert [bad.sample_id for bad in look.pictures.unreadable] == [2]
    assert look.is_usable.tolist() == [True, False, False, True, False]
    assert (look.unlabelled, look.num_classes) == ((3,), 1)


def test_texts_are_the_same_but_for_case_and_spaces(tmp_path: Path) -> None:
    texts = _look(_table(tmp_path)).texts
    assert sorted(texts) == [0, 1, 2, 3]
    assert texts[0][0] == texts[1][0]
    assert len({*texts[0], *texts[3]}) == 3


def test_keys_are_those_of_the_columns_there_are(tmp_path: Path) -> None:
    table = _table(tmp_path)
    assert list(_look(table).keys()) == ["group", "picture", "text"]
    assert list(_look(table, group=False, image=False).keys()) == ["text"]
    assert sorted(_look(table).keys()["picture"]) == [0, 3, 4]


def test_long_captions_are_kept_for_counting(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"text": "x" * length} for length in (12, 13, 40)])
    assert _look(file, CharacterTokenizer(20)).scan.num_long_captions == 2
    assert _look(file).scan.num_long_captions == 0


def test_pictures_none_of_which_is_there_are_an_error(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"image": f"gone/{index}.png"} for index in range(3)])
    with pytest.raises(UserError, match="none of the 3 pictures looked for is there"):
        _look(file)
