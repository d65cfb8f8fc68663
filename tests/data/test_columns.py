from __future__ import annotations

import re
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


def _roles(source: Source, *required: str, **named: str) -> Roles:
    return resolve_roles(source, ColumnsConfig(**named), required)


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
        _roles(source, "text")
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
        _roles(source, **{role: "x"})
