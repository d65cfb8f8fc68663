from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from mmcl.data.columns import Roles, resolve_roles
from mmcl.data.sources import Source
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig

STRING, NUMBER = datasets.Value("string"), datasets.Value("int64")


def _source(**features: Any) -> Source:
    empty = datasets.Dataset.from_dict({name: [] for name in features}, features=datasets.Features(features))
    return Source(empty, "products.csv", "train", "data.train", Path(), tuple(features))


def _roles(source: Source, *required: str, num_negatives: int = 0, **named: Any) -> Roles:
    return resolve_roles(source, ColumnsConfig(**named), dict.fromkeys(required, ""), num_negatives=num_negatives)


def test_roles_go_by_name_unless_named() -> None:
    source = _source(image=STRING, title=STRING, text=STRING, product_id=NUMBER)
    assert _roles(source, "text") == Roles("image", "text")
    roles = _roles(source, "text", text="title", group="product_id")
    assert roles == Roles("image", "title", "product_id")
    assert roles.described() == "image <- image   text <- title   group <- product_id"


def test_class_column_gives_its_names() -> None:
    roles = _roles(_source(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"])))
    assert (roles.text, roles.label, roles.label_names) == (None, "label", ("cat", "dog"))


def test_unknown_column_names_the_nearest() -> None:
    source = _source(image_path=STRING, title=STRING, product_id=STRING)
    message = (
        'data.columns.text: no column "titel" in products.csv (image_path, title, product_id). Did you mean "title"?'
    )
    with pytest.raises(UserError, match=re.escape(message)):
        _roles(source, "text", image="image_path", text="titel")
    with pytest.raises(UserError, match=r'data.columns.group: no column "product"'):
        _roles(source, image="image_path", group="product")


def test_required_role_without_a_column_says_what_to_write() -> None:
    source = _source(image_path=STRING, title=STRING)
    with pytest.raises(UserError, match=r"holds the pictures, as data.columns.image: NAME"):
        _roles(source, "image")
    with pytest.raises(UserError, match=r"holds the labels, as data.columns.label: NAME"):
        _roles(source, "label", image="image_path")


@pytest.mark.parametrize(
    "feature", [STRING, datasets.Value("large_string"), datasets.List(STRING), [STRING], datasets.LargeList(STRING)]
)
def test_text_is_a_string_or_a_list_of_strings(feature: Any) -> None:
    assert _roles(_source(image=STRING, text=feature), "text").text == "text"


@pytest.mark.parametrize(
    ("role", "feature", "message"),
    [
        ("positive", NUMBER, '"x" in products.csv holds int64, not text'),
        ("text", NUMBER, '"x" in products.csv holds int64, not text'),
        ("text", datasets.Value("null"), "holds only missing values, not text"),
        ("text", datasets.List(NUMBER), "holds List, not text"),
        ("text", datasets.Image(), "holds Image, not text"),
        ("text", datasets.ClassLabel(names=["a"]), "holds ClassLabel, not text"),
        ("image", NUMBER, "holds int64, not pictures"),
        ("group", datasets.List(NUMBER), "holds List, not one value per row"),
        ("label", datasets.Image(), "holds Image, not one value per row"),
    ],
)
def test_column_that_cannot_play_its_role_is_an_error(role: str, feature: Any, message: str) -> None:
    source = _source(image=datasets.Image(), x=feature)
    with pytest.raises(UserError, match=rf"data.columns.{role}: .*{message}"):
        _roles(source, role, **{role: "x"})


def test_required_role_without_a_column_says_who_needs_it() -> None:
    source = _source(image=STRING, text=STRING, positve=STRING)
    message = (
        'objectives.1: simcse needs text.1, and products.csv has no column "positive" (image, text, positve); '
        'say which column holds the positives, as data.columns.positive: NAME. Did you mean "positve"?'
    )
    with pytest.raises(UserError, match=re.escape(message)):
        resolve_roles(source, ColumnsConfig(), {"positive": "objectives.1: simcse needs text.1"})


def test_false_lets_no_column_play_a_role() -> None:
    source = _source(image=STRING, text=STRING, group=STRING, label=STRING)
    roles = _roles(source, text=False, group=False, label=False)
    assert roles == Roles("image", is_ungrouped=True)
    assert roles.described() == "image <- image"
    with pytest.raises(UserError, match=r"objectives.0: clip needs text.0, and data.columns.text is false"):
        resolve_roles(source, ColumnsConfig(text=False), {"text": "objectives.0: clip needs text.0"})


def test_true_is_no_column() -> None:
    with pytest.raises(ValueError, match="must be the name of a column, or false for none, got true"):
        ColumnsConfig(image=True)
    with pytest.raises(ValueError, match="must be the name of a column, several, or false for none, got true"):
        ColumnsConfig(text=True)


def test_picture_need_not_be_there() -> None:
    assert _roles(_source(text=STRING), "text") == Roles(text="text")


def test_positive_and_negatives_play_only_where_they_are_required() -> None:
    source = _source(text=STRING, positive=STRING, hard=STRING, harder=STRING)
    assert _roles(source, "text") == Roles(text="text")
    named = {"negatives": ["hard", "harder"]}
    for number in (0, 1, 2):
        roles = _roles(source, "text", "positive", num_negatives=number, **named)
        assert roles == Roles(text="text", positive="positive", negatives=("hard", "harder")[:number])
    assert roles.described() == "text <- text   positive <- positive   negatives <- hard, harder"
    parts = ("image", "text.0", "text.1", "text.2", "text.3", "text.4")
    assert [roles.column_of(part) for part in parts] == [None, "text", "positive", "hard", "harder", None]


def test_too_few_negatives_are_said() -> None:
    source = _source(text=STRING, negatives=STRING)
    required = {"negatives": "objectives.0: simcse needs text.3"}
    with pytest.raises(UserError, match=r"needs text.3, and data.columns.negatives names negatives only; name a col"):
        resolve_roles(source, ColumnsConfig(), required, num_negatives=2)
    with pytest.raises(UserError, match=r'data.columns.negatives: no column "hard" in products.csv'):
        resolve_roles(source, ColumnsConfig(negatives=("negatives", "hard")))


def test_anchor_is_another_name_of_text() -> None:
    source = _source(anchor=STRING, premise=STRING)
    assert _roles(source, "text") == Roles(text="anchor")
    assert _roles(source, "text", anchor="premise") == Roles(text="premise")
    assert _roles(_source(anchor=STRING, text=STRING), "text") == Roles(text="text")
    assert _roles(source, anchor=False) == Roles()
    with pytest.raises(UserError, match=r'data.columns.anchor: no column "premis" in .*Did you mean "premise"'):
        _roles(source, "text", anchor="premis")
    with pytest.raises(ValueError, match="is another name of text, which is given too; give one of the two"):
        ColumnsConfig(text="a", anchor="b")


def test_several_columns_are_all_captions() -> None:
    source = _source(short=STRING, long=datasets.List(STRING), number=NUMBER)
    roles = _roles(source, "text", text=["short", "long"])
    assert roles == Roles(text=("short", "long"))
    assert roles.described() == "text <- short, long"
    assert _roles(source, "text", text=["short"]) == Roles(text="short")
    with pytest.raises(UserError, match=r'data.columns.text: "number" in products.csv holds int64, not text'):
        _roles(source, "text", text=["short", "number"])
    with pytest.raises(ValueError, match=r"must be the name of a column, several, or false for none, got \[\]"):
        ColumnsConfig(text=[])


def test_csv_file_that_seems_to_have_no_line_of_names_is_told_of_them() -> None:
    source = replace(_source(**{"A plane.": STRING, "A jet.": STRING, "5.0": STRING}), delimiter=",")
    message = "If its first line is a row, name the columns in data.train.column_names."
    with pytest.raises(UserError, match=re.escape(message)):
        _roles(source, "text")
    with pytest.raises(UserError, match=r"NAME\.$"):
        _roles(replace(_source(a=STRING, b=STRING), delimiter=","), "text")
    with pytest.raises(UserError, match=re.escape(message)):
        _roles(source, "text", text="sentence1")


def test_score_plays_only_where_it_is_required() -> None:
    source = _source(text=STRING, score=datasets.Value("float32"), scores=datasets.List(NUMBER))
    assert _roles(source, "text", score="score") == Roles(text="text")
    roles = _roles(source, "text", "score")
    assert (roles.score, roles.column_of("score")) == ("score", "score")
    assert roles.described() == "text <- text   score <- score"
    with pytest.raises(UserError, match=r'data.columns.score: "scores" in products.csv holds List, not one value'):
        _roles(source, "score", score="scores")
