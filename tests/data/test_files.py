from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmcl.data.files import locate
from mmcl.errors import UserError
from tests.data.builders import write_pictures


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "products.csv",
        "more.csv",
        "rows.jsonl",
        "rows.json",
        "part.parquet",
        "shard.tar",
        "notes.md",
        "lines.txt",
    ):
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("products.csv", "csv"),
        ("rows.jsonl", "jsonl"),
        ("rows.json", "jsonl"),
        ("part.parquet", "parquet"),
        ("shard.tar", "webdataset"),
        ("lines.txt", "text"),
        ("glyphs", "glyphs"),
        ("digits", "digits"),
        ("someone/products", "hub"),
        ("products-of-somebody", "hub"),
    ],
)
def test_format_is_told_by_the_path(folder: Path, path: str, expected: str) -> None:
    assert locate(path, "auto", None, "data.train").format == expected


def test_glob_finds_files_in_order(folder: Path) -> None:
    assert [file.name for file in locate("*.csv", "auto", None, "data.train").files] == ["more.csv", "products.csv"]
    assert [file.name for file in locate(f"{folder}/**/*.csv", "auto", None, "k").files] == ["more.csv", "products.csv"]


def test_braces_name_files_and_addresses_in_order(folder: Path) -> None:
    for number in range(3):
        (folder / f"train-{number:05d}.tar").write_text("x")
    found = locate("train-{00000..00002}.tar", "auto", None, "data.train")
    assert [file.name for file in found.files] == [f"train-{number:05d}.tar" for number in range(3)]
    remote = locate("https://example.org/train-{00000..00001}.tar?token=a.csv", "auto", None, "data.train")
    assert (remote.format, remote.files) == ("webdataset", ())
    assert remote.addresses == tuple(f"https://example.org/train-{number:05d}.tar?token=a.csv" for number in (0, 1))


@pytest.mark.parametrize(
    ("path", "file_format", "message"),
    [
        ("train-{0..1}.tar", "auto", "data.train.path: no file matches train-0.tar"),
        (
            "https://example.org/x.csv",
            "auto",
            "x.csv is csv, and at an address may be only webdataset,",
        ),
        ("https://example.org/x", "auto", "data.train.path: cannot tell how to read x; known are .csv"),
        ("product.csv", "auto", 'data.train.path: there is no product.csv. Did you mean "products.csv"?'),
        ("./gone/far/x.csv", "auto", "data.train.path: there is no ./gone/far/x.csv."),
        ("/a/b/c", "auto", "data.train.path: there is no /a/b/c."),
        ("*.xls", "auto", "data.train.path: no file matches *.xls"),
        ("*s.*", "auto", "it matches files of several kinds"),
        ("line.txt", "auto", 'there is no line.txt. Did you mean "lines.txt"?'),
        ("notes.md", "auto", "cannot tell how to read notes.md; known are .csv, .tsv"),
        ("products.csv", "imagefolder", "data.train.format: imagefolder reads a folder"),
        ("products.csv", "pairs", "data.train.format: pairs reads a folder"),
        ("someone/products", "csv", "there is no someone/products"),
    ],
)
def test_what_cannot_be_found_is_said(folder: Path, path: str, file_format: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        locate(path, file_format, None, "data.train")


def test_folder_is_told_by_what_it_holds(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures" / "cats", 1)
    for name in (
        "shards/a.tar",
        "tables/b.parquet",
        "saved/state.json",
        "both/dataset_dict.json",
        "metadata/metadata.csv",
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x")
    (tmp_path / "empty").mkdir()
    found = {
        name: locate(str(tmp_path / name), "auto", None, "k").format
        for name in ("pictures", "shards", "tables", "saved", "both", "metadata")
    }
    assert found == {
        "pictures": "imagefolder",
        "shards": "webdataset",
        "tables": "parquet",
        "saved": "saved",
        "both": "saved",
        "metadata": "imagefolder",
    }
    with pytest.raises(UserError, match="holds neither pictures nor data files"):
        locate(str(tmp_path / "empty"), "auto", None, "k")
    with pytest.raises(UserError, match=r"holds no \.tar files"):
        locate(str(tmp_path / "tables"), "webdataset", None, "k")


def test_folders_of_splits_are_splits(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_pictures(tmp_path / split / "cats", 1)
    assert locate(str(tmp_path), "auto", None, "k").folder == tmp_path / "train"
    assert locate(str(tmp_path), "auto", "validation", "k").folder == tmp_path / "validation"
    with pytest.raises(UserError, match=r'k.split: no valid in .* \(train, validation\). Did you mean "validation"'):
        locate(str(tmp_path), "auto", "valid", "k")
    with pytest.raises(UserError, match="has no folders of splits"):
        locate(str(tmp_path / "train"), "auto", "validation", "k")


@pytest.mark.parametrize("other", ["rows.csv", "rows.jsonl"])
def test_data_files_win_over_texts_beside_them_and_it_is_said(
    tmp_path: Path, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("LICENSE.txt", other, "zzz.txt"):
        (tmp_path / name).write_text("x")
    location = locate(str(tmp_path), "auto", None, "data.train")
    assert [file.name for file in location.files] == [other]
    (said,) = caplog.messages
    assert f"read by its {other[5:]} files; its 2 .txt files are not read, the first is LICENSE.txt" in said


def test_folder_of_texts(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("x")
    location = locate(str(tmp_path), "auto", None, "data.train")
    assert (location.format, [file.name for file in location.files]) == ("text", ["a.txt", "b.txt"])


def test_pictures_are_pairs_when_half_of_them_have_a_text_of_their_name(tmp_path: Path) -> None:
    write_pictures(tmp_path / "cats", 4)
    (tmp_path / "cats" / "0.txt").write_text("x")
    (tmp_path / "readme.txt").write_text("x")
    assert locate(str(tmp_path), "auto", None, "k").format == "imagefolder"
    assert locate(str(tmp_path), "pairs", None, "k").format == "pairs"
    (tmp_path / "cats" / "1.txt").write_text("x")
    assert locate(str(tmp_path), "auto", None, "k").format == "pairs"
    (tmp_path / "metadata.csv").write_text("file_name,text\n")
    assert locate(str(tmp_path), "auto", None, "k").format == "imagefolder"


def test_folders_of_splits_may_hold_pairs(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_pictures(tmp_path / split, 1)
        (tmp_path / split / "0.txt").write_text("x")
    location = locate(str(tmp_path), "auto", "test", "k")
    assert (location.format, location.folder) == ("pairs", tmp_path / "test")
