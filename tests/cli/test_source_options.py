from __future__ import annotations

import pytest

from mmcl.cli.source_options import DEFAULT_MAX_UNREADABLE, columns_given, in_own_words, source_given
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, DataConfig, SourceConfig


@pytest.mark.parametrize(
    ("message", "own"),
    [
        ("data.train.path: there is no data.train.csv.", "DATA: there is no data.train.csv."),
        ("data.train: none is there; set data.train.image_root to x", "DATA: none is there; set --image-root to x"),
        ('data.train.delimiter: Set data.train.delimiter to ";"', '--delimiter: Set --delimiter to ";"'),
        ('data.columns.text: "price" holds numbers', '--text: "price" holds numbers'),
        (
            "data.train.path: x; name the columns in data.train.column_names",
            "DATA: x; name the columns in --column-names",
        ),
        ("data.max_unreadable: 2 of 3 rows", "--max-unreadable: 2 of 3 rows"),
        ("--held-out.path: there is no x", "--held-out: there is no x"),
        ("--held-out.split: no test in x", "--held-out-split: no test in x"),
    ],
)
def test_messages_name_options(message: str, own: str) -> None:
    assert in_own_words(message) == own


def test_columns_are_named_or_false() -> None:
    assert columns_given("photo", None, "false", None) == ColumnsConfig(image="photo", group=False)


def test_sources_are_what_was_said_and_nothing_else() -> None:
    source = source_given("x.csv", delimiter=";", limit=3)
    assert source == SourceConfig(path="x.csv", delimiter=";", limit=3)
    with pytest.raises(UserError, match=r'--format: unknown format "cvs" .* Did you mean "csv"'):
        source_given("x.csv", file_format="cvs")


def test_names_of_columns_stand_between_commas_with_spaces_or_without() -> None:
    assert source_given("x.csv", column_names="a, b,score").column_names == ("a", "b", "score")
    for mistaken in ("a,,score", "a, a", ""):
        with pytest.raises(UserError, match=r"^--column-names: must be names, .* all different"):
            source_given("x.csv", column_names=mistaken)


def test_the_default_is_that_of_a_recipe() -> None:
    assert DataConfig.model_fields["max_unreadable"].default == DEFAULT_MAX_UNREADABLE
