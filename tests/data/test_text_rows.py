"""Rows of texts by their roles, from files of their own and held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from mmcl.data.loader import build_train_data
from mmcl.data.text_rows import TextNeeds, TextRows, open_text_rows, read_texts, validation_text_rows
from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.tiny import bert_alone, save_tokenizer

PAIRS = TextNeeds("pairs")


def save(folder: Path, *lines: str, name: str = "rows.csv") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / name)


def opened(path: str, needs: TextNeeds = PAIRS, **columns: Any) -> TextRows:
    return open_text_rows(SourceConfig(path=path), ColumnsConfig(**columns), needs)


def test_roles_go_by_names_and_what_is_not_needed_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path, "anchor,positive,negatives,score,label,image", "a,b,n,3.5,x,no.png", "c,d,,,y,no.png")
    rows = opened(path)
    assert (rows.anchors, rows.positives, rows.negatives) == ([["a"], ["c"]], [["b"], ["d"]], [[], []])
    assert (rows.scores, rows.labels, rows.left_out, rows.split) == ([], [], (), "train")
    assert opened(path, TextNeeds("sts", score=True)).scores == [3.5, None]
    assert opened(path, TextNeeds("pairs", label=True)).labels == ["x", "y"]
    assert opened(path, TextNeeds("search", takes_negatives=True)).negatives == [["n"], []]


def test_labels_of_a_class_column_are_its_numbers(tmp_path: Path) -> None:
    text, names = datasets.Value("string"), datasets.ClassLabel(names=["different", "same"])
    features = datasets.Features({"text": text, "positive": text, "label": names})
    rows = {"text": ["a", "b", "c"], "positive": ["x", "y", "z"], "label": [1, 0, -1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "pairs")
    found = opened(str(tmp_path / "pairs"), TextNeeds("pairs", label=True))
    assert (found.labels, found.left_out[0].reason) == (["1", "0"], "the label is missing")


def test_rows_that_lack_what_is_needed_are_left_out_with_the_reason(tmp_path: Path) -> None:
    lines = ("text,positive,n1,n2,label,group", "a,,x,y,1,g", "b,p,,,1,g", "c,q,x,,,g", "d,r,,y,0,h")
    path = save(tmp_path, *lines)
    triplets = opened(path, TextNeeds("triplets", negatives=True), negatives=("n1", "n2"))
    assert (triplets.anchors, triplets.negatives) == ([["c"], ["d"]], [["x"], ["y"]])
    assert [record.sample_id for record in triplets.left_out] == [0, 1]
    assert len(set(triplets.groups)) == 2
    labelled = opened(path, TextNeeds("pairs", label=True))
    assert labelled.labels == ["1", "0"]
    assert labelled.left_out[-1].reason == "the label is missing"


@pytest.mark.parametrize(
    ("needs", "columns", "message"),
    [
        (PAIRS, {"positive": "second"}, r'evaluate.columns.positive: no column "second" in rows.csv'),
        (PAIRS, {}, r'pairs needs pairs of texts, and rows.csv has no column "positive" \(text, other, score\)'),
        (
            TextNeeds("sts", score=True),
            {"positive": "other"},
            r'columns.score: in "score" of rows.csv the score is .high',
        ),
        (TextNeeds("t", negatives=True), {"positive": "other"}, "t needs hard negatives, and rows.csv has no column"),
        (TextNeeds("p", label=True), {"positive": "other"}, "p needs labels, and rows.csv has no column"),
    ],
)
def test_mistakes_say_what_is_missing(tmp_path: Path, needs: TextNeeds, columns: dict[str, Any], message: str) -> None:
    path = save(tmp_path, "text,other,score", "a,b,high")
    with pytest.raises(UserError, match=message):
        opened(path, needs, **columns)


def test_rows_none_of_which_can_be_used_are_an_error(tmp_path: Path) -> None:
    path = save(tmp_path, "text,positive", "a,", "b,")
    with pytest.raises(UserError, match=r"pairs can use no row of rows.csv: the positive is missing or empty"):
        opened(path)
    with pytest.raises(UserError, match=r"evaluate.data.streaming: rows to judge on are needed all at once"):
        open_text_rows(SourceConfig(path=path, streaming=True), ColumnsConfig(), PAIRS)
    with pytest.raises(UserError, match=r"x.streaming: rows to judge on are needed all at once"):
        read_texts(SourceConfig(path=path, streaming=True), ("text",), "x")


def test_further_texts_are_those_of_the_first_column_that_is_there(tmp_path: Path) -> None:
    source = SourceConfig(path=save(tmp_path, "text,passage", "a,b", "c,"))
    assert read_texts(source, ("passage", "text"), "x") == ["b"]
    assert read_texts(source, ("answer", "text"), "x") == ["a", "c"]
    lines = SourceConfig(path=save(tmp_path, "one", "", "two", name="lines.txt"))
    assert read_texts(lines, ("answer", "text"), "x") == ["one", "two"]
    with pytest.raises(UserError, match=r'x.text: no column "text" in other.csv'):
        read_texts(SourceConfig(path=save(tmp_path, "a", "b", name="other.csv")), ("text",), "x")


def recipe_of(folder: Path, train: Any, **data: Any) -> Recipe:
    model = bert_alone(save_tokenizer(folder / "tokenizer"))
    fields = {"train": train, "columns": {"anchor": "a", "positive": "p"}, **data}
    objective = {"type": "simcse", "temperature": 0.05}
    return Recipe.model_validate(
        {"model": model.model_dump(), "data": fields, "objectives": [objective], "batch_size": 4, "max_steps": 1}
    )


def held_out(recipe: Recipe, needs: TextNeeds = PAIRS) -> TextRows | None:
    model = build_model(recipe.model, recipe.seed)
    return validation_text_rows(recipe, build_train_data(recipe, model.preprocessing, model.tokenizer), needs)


def test_held_out_rows_are_those_of_the_split_with_all_that_a_task_needs(tmp_path: Path) -> None:
    lines = [f"alpha {row},beta {row},{row},{row % 20}" for row in range(40)]
    train = save(tmp_path / "one", "a,p,score,group", *lines, name="one.csv")
    recipe = recipe_of(tmp_path, train, validation=0.3)
    rows = held_out(recipe, TextNeeds("sts", score=True))
    assert rows is not None
    assert 4 < len(rows.anchors) < 25
    assert rows.split == "validation"
    assert rows.ids == [int(score or 0) for score in rows.scores]
    for anchors, positives, score in zip(rows.anchors, rows.positives, rows.scores, strict=True):
        assert score is not None
        assert (anchors, positives) == ([f"alpha {score:.0f}"], [f"beta {score:.0f}"])
    own = [(score or 0) % 20 for score in rows.scores]  # two rows of each group, far apart
    assert len(set(zip(rows.groups, own, strict=True))) == len(set(rows.groups)) == len(own) // 2
    assert held_out(recipe_of(tmp_path, train, validation=0)) is None
    other = save(tmp_path, "a,p", "x,y", name="own.csv")
    validation = held_out(recipe_of(tmp_path, train, validation=other))
    assert validation is not None
    assert (validation.name, validation.anchors) == ("own.csv", [["x"]])


def test_of_several_sources_those_count_that_have_the_columns_and_are_no_replay(tmp_path: Path) -> None:
    pairs = save(tmp_path / "one", "a,p", *(f"alpha {row},beta {row}" for row in range(40)), name="one.csv")
    lines = save(tmp_path / "two", *(f"knight {row}" for row in range(40)), name="two.txt")
    old = save(tmp_path / "three", "a,p", *(f"old {row},beta {row}" for row in range(40)), name="three.csv")
    sources = [
        {"path": pairs, "weight": 1},
        {"path": lines, "weight": 1, "columns": {"text": "text"}},
        {"path": old, "weight": 1, "replay": True},
    ]
    rows = held_out(recipe_of(tmp_path, sources, validation=0.4))
    assert rows is not None
    assert {anchors[0].split()[0] for anchors in rows.anchors} == {"alpha"}
    second = held_out(recipe_of(tmp_path, [sources[1], sources[0]], validation=0.4))
    assert second is not None
    assert second.anchors == [[f"alpha {row - 40}"] for row in second.ids]  # counted on from the first source
    with pytest.raises(UserError, match=r"pairs needs pairs of texts, and two.txt has no column"):
        held_out(recipe_of(tmp_path, lines, validation=0.4, columns={"text": "text"}))
