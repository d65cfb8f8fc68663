from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmcl.data.csv_header import default_delimiter, read_columns
from mmcl.errors import UserError
from mmcl.recipe_data import SourceConfig


def _write(folder: Path, text: str | bytes) -> Path:
    file = folder / "products.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_columns_are_read_past_a_byte_order_mark(tmp_path: Path) -> None:
    assert read_columns(_write(tmp_path, '\ufeffimage,"a, title"\nx,y\n'), ",", "data.train") == ["image", "a, title"]


def test_default_goes_by_suffix() -> None:
    assert [default_delimiter(Path(name)) for name in ("a.csv", "a.tsv", "A.TSV")] == [",", "\t", "\t"]


@pytest.mark.parametrize(
    ("text", "delimiter", "message"),
    [
        (
            "image;title\nx;y\n",
            ",",
            'data.train.delimiter: the comma "," gives one column in products.csv (image;title); the semicolon ";" '
            'gives 2 (image, title). Set data.train.delimiter to ";"',
        ),
        ("image\ttitle\n", ",", 'the tab gives 2 (image, title). Set data.train.delimiter to "\\t"'),
        ("image,title\n", "\t", "data.train.delimiter: the tab gives one column in products.csv (image,title)"),
        ("image,title\n", "", "data.train.delimiter: one character, got ''"),
        ("", ",", "data.train.path: products.csv is empty"),
        ("image,title,image\n", ",", 'products.csv names the column "image" twice'),
        ("image,title\na.png,red, white\n", ",", "names 2 columns and its first row has 3 fields"),
        ("image,título\n".encode("latin-1"), ",", "is not csv text in UTF-8"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, text: str | bytes, delimiter: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read_columns(_write(tmp_path, text), delimiter, "data.train")


def test_one_column_is_fine_where_nothing_fits_better(tmp_path: Path) -> None:
    assert read_columns(_write(tmp_path, "title\na b\n"), ",", "data.train") == ["title"]


def test_names_that_are_given_must_fit_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,x,1\n")
    assert read_columns(tmp_path / "a.csv", ",", "data.train", ("a", "b", "c")) == ["a", "b", "c"]
    message = r"data.train.column_names: 2 names \(a, b\), and the first row of a.csv has 3 fields \(x, x, 1\)"
    with pytest.raises(UserError, match=message):
        read_columns(tmp_path / "a.csv", ",", "data.train", ("a", "b"))


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""]])
def test_names_that_are_given_differ(names: list[str]) -> None:
    with pytest.raises(ValueError, match="must be names, one for each column, all different, got"):
        SourceConfig(path="a.csv", column_names=names)
