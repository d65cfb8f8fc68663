from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcl.data.inspection import Inspection, compare_to, inspect_data
from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import write_lines, write_pictures
from tests.tiny import WORDS, bert_alone, save_tokenizer

pytestmark = pytest.mark.usefixtures("empty_cache")


def _table(folder: Path, name: str = "a.jsonl") -> Path:
    names = write_pictures(folder, 20)
    rows = [
        {"photo": file, "title": f"a hat {index}", "kind": ["hat", "cap"][index % 2], "price": index / 3}
        for index, file in enumerate(names)
    ]
    return write_lines(folder / name, rows)


def _inspect(file: Path, model: str | None = None, **given: Any) -> Inspection:
    return inspect_data(SourceConfig(path=str(file)), ColumnsConfig(**given), model)


@pytest.mark.parametrize(
    ("given", "model", "base"),
    [
        ({}, None, "clip/finetune"),
        ({"text": False}, None, "vision/simclr"),
        ({"text": False}, "some/encoder", "vision/transfer"),
        ({"text": False, "label": False}, "some/encoder", "vision/simclr"),
        ({"image": False}, None, "text/simcse"),
    ],
)
def test_the_base_goes_by_what_there_is(tmp_path: Path, given: dict[str, Any], model: str | None, base: str) -> None:
    assert _inspect(_table(tmp_path), model, **given).base == base


@pytest.mark.parametrize(("family", "base"), [("siglip2", "siglip/finetune"), ("chinese_clip", "clip/finetune")])
def test_the_base_goes_by_the_models_own_loss(tmp_path: Path, family: str, base: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(f'{{"model_type": "{family}"}}')
    found = _inspect(_table(tmp_path), str(model))
    assert found.base == base
    assert found.recipe.model.name == str(model)


def test_neither_pictures_nor_texts_is_an_error(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"price": 1.5, "size": 3}] * 3)
    with pytest.raises(UserError, match=r"a.jsonl holds neither pictures nor texts .* \(price, size\)"):
        _inspect(file)


def test_guesses_are_told_before_the_pictures_are_read(tmp_path: Path) -> None:
    told: list[Any] = []
    source = SourceConfig(path=str(_table(tmp_path)))
    found = inspect_data(source, ColumnsConfig(), None, told.append, lambda *numbers: told.append(numbers))
    assert told[:2] == [
        "image <- photo: 16 of 16 looked at are pictures",
        "text <- title: words, 20 different values in 20 rows",
    ]
    assert told[-1] == (20, 20)
    assert found.unused_columns == ("kind", "price")


def test_a_model_that_cannot_be_had_counts_nothing_and_says_why(tmp_path: Path) -> None:
    lengths = _inspect(_table(tmp_path), "nobody/nothing").check(0.01).lengths
    assert lengths is not None
    assert (lengths.model, lengths.max_length, lengths.num_captions) == ("nobody/nothing", None, 0)
    assert lengths.not_counted is not None
    assert lengths.not_counted.startswith('cannot load "nobody/nothing"')


def test_captions_are_counted_by_the_models_tokenizer(tmp_path: Path) -> None:
    export_model(
        build_model(bert_alone(save_tokenizer(tmp_path / "words"))), tmp_path / "run/model", ModelCardFacts("x")
    )
    lines = [f"{WORDS[index]} " * (31 if index == 3 else 30) for index in range(6)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    lengths = _inspect(tmp_path / "a.txt", str(tmp_path / "run")).lengths
    assert lengths is not None
    # text/simcse cuts at 32 tokens, of which two are special
    assert (lengths.max_length, lengths.num_captions, lengths.num_cut) == (32, 6, 1)


def test_held_out_rows_are_compared_by_the_columns_both_have(tmp_path: Path) -> None:
    found = _inspect(_table(tmp_path), group="kind")
    rows = [{"photo": "3.png", "title": "new"}, {"photo": None, "title": "A HAT 4"}]
    overlap = compare_to(found, SourceConfig(path=str(write_lines(tmp_path / "b.jsonl", rows))))
    assert (overlap.rows, overlap.not_compared) == ({"picture": (0,), "text": (1,)}, ("group",))
    other = write_lines(tmp_path / "c.jsonl", [{"caption": "a hat"}])
    with pytest.raises(UserError, match=r'--held-out: c.jsonl has no column "photo" nor "title" \(caption\)'):
        compare_to(found, SourceConfig(path=str(other)))
    with pytest.raises(UserError, match=r"--held-out.path: there is no"):
        compare_to(found, SourceConfig(path=str(tmp_path / "gone.csv")))
