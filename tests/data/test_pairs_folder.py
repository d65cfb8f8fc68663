from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.data.pairs_folder import load_pairs
from mmcl.errors import UserError
from tests.data.builders import write_pictures


def _rows(folder: Path) -> list[tuple[str, str | None]]:
    rows = load_pairs(folder, "data.train")
    return [(Path(row["image"]["path"]).relative_to(folder).as_posix(), row["text"]) for row in rows]


def test_each_picture_has_the_text_of_its_name(tmp_path: Path) -> None:
    write_pictures(tmp_path / "b [1]", 2, "bild ü {}.png")
    write_pictures(tmp_path, 1, "a.{}.JPG")
    (tmp_path / "b [1]" / "bild ü 0.txt").write_bytes("\ufeff ein Hut\r\nzwei \n".encode())
    (tmp_path / "b [1]" / "bild ü 1.txt").write_text("eine Mütze")
    (tmp_path / "a.0.txt").write_text("a shoe")
    expected = [("a.0.JPG", "a shoe"), ("b [1]/bild ü 0.png", "ein Hut\nzwei"), ("b [1]/bild ü 1.png", "eine Mütze")]
    assert _rows(tmp_path) == expected


def test_no_picture_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "a.txt").write_text("a shoe")
    assert _rows(tmp_path) == [("a.png", "a shoe")]


def test_a_caption_that_is_missing_blank_or_garbled_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path, 4)
    (tmp_path / "0.txt").write_text(" \n")
    (tmp_path / "1.txt").write_bytes("für".encode("latin-1"))
    (tmp_path / "2.txt").mkdir()
    assert _rows(tmp_path) == [(f"{index}.png", None) for index in range(4)]
    assert caplog.messages == [
        f"2 text files cannot be read as UTF-8; their pictures have no caption; the first is {tmp_path / '1.txt'}"
    ]


def test_texts_without_a_picture_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path, 1)
    for name in ("0.txt", "7.txt", "8.txt"):
        (tmp_path / name).write_text("x")
    assert _rows(tmp_path) == [("0.png", "x")]
    assert caplog.messages == [f"2 text files have no picture of their name; the first is {tmp_path / '7.txt'}"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    write_pictures(tmp_path, 1, "._{}.png")
    write_pictures(tmp_path / ".thumbnails", 1)
    assert [name for name, _ in _rows(tmp_path)] == ["0.png"]


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"data.train.path: .* holds no pictures"):
        load_pairs(tmp_path, "data.train")
