from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import datasets
import pytest

from mmcl.data.images import decode_image
from mmcl.data.sources import Source, open_source
from mmcl.errors import UnreachableError, UserError
from mmcl.recipe_data import SourceConfig
from tests.data.builders import encoded, picture, write_lines, write_pictures

pytestmark = pytest.mark.usefixtures("empty_cache")

SHARED = Path(os.environ.get("MMCL_SHARED_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data")


def _open(path: Path | str, **options: Any) -> Source:
    return open_source(SourceConfig(path=str(path), **options))


def _rows(source: Source) -> list[dict[str, Any]]:
    return list(source.dataset)


def _write_tar(file: Path, number: int = 3) -> Path:
    with tarfile.open(file, "w") as archive:
        for index in range(number):
            for name, data in ((f"{index}.png", encoded(picture(index))), (f"{index}.txt", f"text {index}".encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return file


def _dataset(number: int = 3) -> datasets.Dataset:
    pictures = [{"bytes": encoded(picture(index)), "path": None} for index in range(number)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    return datasets.Dataset.from_dict({"image": pictures, "text": [f"text {i}" for i in range(number)]}, features)


@pytest.mark.parametrize("streaming", [False, True])
def test_csv_is_text_and_a_missing_field_is_none(tmp_path: Path, streaming: bool) -> None:
    file = tmp_path / "products.csv"
    file.write_text('image_path,title,code\na.png,"red, shirt",007\nb.png,,8\nc.png,nan,9\n', encoding="utf-8")
    source = _open(file, streaming=streaming)
    assert source.columns == ("image_path", "title", "code")
    assert [row["title"] for row in _rows(source)] == ["red, shirt", None, None]
    assert [row["code"] for row in _rows(source)] == ["007", "8", "9"]
    assert source.is_stream == streaming
    assert source.resolve("a.png") == str(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "delimiter", "option"), [("a.tsv", "\t", None), ("a.csv", ";", ";"), ("b.csv", "|", "|")]
)
def test_csv_with_any_delimiter(tmp_path: Path, name: str, delimiter: str, option: str | None) -> None:
    (tmp_path / name).write_text(f"image{delimiter}text\na.png{delimiter}red, or so\n")
    assert _rows(_open(tmp_path / name, delimiter=option)) == [{"image": "a.png", "text": "red, or so"}]


def test_delimiter_that_does_not_fit_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image;text\na.png;red\n")
    with pytest.raises(UserError, match=r'the comma "," gives one column in a.csv \(image;text\); the semicolon'):
        _open(tmp_path / "a.csv")


def test_row_with_too_many_fields_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,text\na.png,red\nb.png,blue, green\n")
    with pytest.raises(UserError, match=r"Expected 2 fields in line 3, saw 3; a field that holds the delimiter must"):
        _open(tmp_path / "a.csv")


def test_several_csv_files_are_one_source_when_their_columns_agree(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"part{number}.csv").write_text(f"image,text\n{number}.png,text {number}\n")
    assert [row["image"] for row in _rows(_open(tmp_path / "part*.csv"))] == ["0.png", "1.png"]
    (tmp_path / "part2.csv").write_text("image,title\n2.png,x\n")
    with pytest.raises(UserError, match=r"part2.csv has other columns \(image, title\) than part0.csv \(image, text\)"):
        _open(tmp_path / "part*.csv")


@pytest.mark.parametrize("streaming", [False, True])
def test_csv_without_a_line_of_names(tmp_path: Path, streaming: bool) -> None:
    for number in range(2):
        (tmp_path / f"part{number}.csv").write_text(f'a{number},"b, c",{number}.5\nd,e,\n')
    source = _open(tmp_path / "part*.csv", column_names=["anchor", "positive", "score"], streaming=streaming)
    assert source.columns == ("anchor", "positive", "score")
    assert _rows(source)[:2] == [
        {"anchor": "a0", "positive": "b, c", "score": "0.5"},
        {"anchor": "d", "positive": "e", "score": None},
    ]
    assert [row["anchor"] for row in _rows(source)] == ["a0", "d", "a1", "d"]


def test_only_csv_files_take_names_of_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"column_names: only csv files take them, and .*a.jsonl is read as jsonl"):
        _open(write_lines(tmp_path / "a.jsonl", [{"text": "x"}]), column_names=["a"])


@pytest.mark.parametrize("streaming", [False, True])
def test_jsonl(tmp_path: Path, streaming: bool) -> None:
    rows = [{"image": "a.png", "text": ["x", "y"]}, {"image": "b.png", "text": []}]
    source = _open(write_lines(tmp_path / "a.jsonl", rows), streaming=streaming)
    assert _rows(source) == rows
    assert source.resolve("a.png") == str(tmp_path / "a.png")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "saved", "webdataset", "saved dict"])
def test_pictures_stay_encoded(tmp_path: Path, kind: str, streaming: bool) -> None:
    path = tmp_path / kind.replace("parquet", "a.parquet").replace("webdataset", "a.tar")
    if kind == "parquet":
        _dataset().to_parquet(str(path))
    elif kind == "webdataset":
        _write_tar(path)
    else:
        (_dataset() if kind == "saved" else datasets.DatasetDict(train=_dataset())).save_to_disk(str(path))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    source = _open(path, streaming=streaming)
    column = "png" if kind == "webdataset" else "image"
    for index, row in enumerate(_rows(source)):
        assert isinstance(row[column], dict)
        assert decode_image(row[column]).tobytes() == picture(index).tobytes()
    assert index == 2
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of two shards on another machine, which is this one."""
    for number in range(2):
        _write_tar(tmp_path / f"shard-{number:02d}.tar")
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_shards_are_read_from_an_address(address: str) -> None:
    source = _open(f"{address}/shard-{{00..01}}.tar?token=secret", streaming=True)
    rows = _rows(source)
    assert [row["txt"] for row in rows] == [f"text {index}" for index in range(3)] * 2
    assert decode_image(rows[4]["png"]).tobytes() == picture(1).tobytes()
    assert (source.name, source.image_root) == ("shard-{00..01}.tar", None)


def test_an_address_without_shards_is_one_message(address: str) -> None:
    with pytest.raises(UserError, match=r"data.train.path: cannot read http.*none.tar as webdataset: Unable to find"):
        _rows(_open(f"{address}/none.tar", streaming=True))


@pytest.mark.parametrize("streaming", [False, True])
def test_imagefolder_of_classes(tmp_path: Path, streaming: bool) -> None:
    for name in ("cat", "dog"):
        # names that the library would take for those of splits
        write_pictures(tmp_path / name, 2, "test_{}.png")
    source = _open(tmp_path, streaming=streaming)
    assert source.dataset.features["label"].names == ["cat", "dog"]
    assert [row["label"] for row in _rows(source)] == [0, 0, 1, 1]
    assert Path(_rows(source)[0]["image"]["path"]).is_file()
    assert _rows(source)[0]["image"]["bytes"] is None


def test_imagefolder_with_metadata(tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "with [brackets]", 3)
    rows = [{"file_name": name, "text": f"text {name}"} for name in names]
    write_lines(tmp_path / "with [brackets]" / "metadata.jsonl", rows)
    source = _open(tmp_path / "with [brackets]")
    assert source.columns == ("image", "text")
    assert [row["text"] for row in _rows(source)] == ["text 0.png", "text 1.png", "text 2.png"]


@pytest.mark.parametrize("streaming", [False, True])
def test_pairs_of_pictures_and_texts(tmp_path: Path, streaming: bool) -> None:
    write_pictures(tmp_path, 3)
    for index in range(3):
        (tmp_path / f"{index}.txt").write_text(f"text {index}")
    source = _open(tmp_path, streaming=streaming)
    assert source.columns == ("image", "text")
    for index, row in enumerate(_rows(source)):
        assert decode_image(row["image"]).tobytes() == picture(index).tobytes()
        assert row["text"] == f"text {index}"
    assert index == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_limit_takes_the_first_rows(tmp_path: Path, streaming: bool) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"image": str(i), "text": "x"} for i in range(5)])
    assert [row["image"] for row in _rows(_open(file, limit=2, streaming=streaming))] == ["0", "1"]
    assert len(_rows(_open(file, limit=9, streaming=streaming))) == 5


def test_image_root_is_where_relative_paths_start(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"image": "x.png", "text": "x"}])
    source = _open(file, image_root=str(tmp_path / "pictures"))
    assert source.resolve("x.png") == str(tmp_path / "pictures" / "x.png")
    assert source.resolve("/y/x.png") == "/y/x.png"


def test_files_of_several_folders_have_no_image_root(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_lines(tmp_path / name / "rows.jsonl", [{"image": "x.png", "text": "x"}])
    assert _open(tmp_path / "*" / "rows.jsonl").resolve("x.png") == "x.png"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "data.train.path: a.csv is empty"),
        ("a.csv", "image,text\n", "a.csv holds no rows"),
        ("a.jsonl", "", "a.jsonl is empty"),
        ("a.jsonl", "{not json\n", "cannot read"),
        ("a.parquet", "PAR", "cannot read"),
        ("a.tar", "not a tar", "cannot read"),
    ],
)
def test_empty_and_broken_files_are_errors(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        _open(tmp_path / name)


def test_options_that_do_not_apply_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,text\na.png,x\n")
    with pytest.raises(UserError, match=r"data.train.split: .*a.csv has no splits"):
        _open(tmp_path / "a.csv", split="test")
    file = write_lines(tmp_path / "a.jsonl", [{"image": "x.png"}])
    with pytest.raises(UserError, match=r"data.train.delimiter: only csv files have one, and .* is read as jsonl"):
        _open(file, delimiter=";")


def test_hub_that_cannot_be_reached_is_one_message() -> None:
    with pytest.raises(UserError, match=re.escape('there is no glyhps. Did you mean "glyphs"? Nor can it be had')):
        _open("glyhps")


def test_the_hub_is_asked_for_the_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("datasets.load_dataset", lambda *given, **named: asked.append((given, named)) or _dataset())
    assert len(_rows(_open("someone/set", revision="v1", split="test"))) == 3
    assert asked == [(("someone/set", None), {"split": "test", "revision": "v1", "streaming": False})]
    _dataset().to_parquet(str(tmp_path / "a.parquet"))
    with pytest.raises(UserError, match=r"data.train.revision: only hub data sets have one, and .*parquet"):
        _open(tmp_path / "a.parquet", revision="v1")


def test_what_the_cache_holds_of_another_commit_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, other = "a" * 40, "b" * 40
    for commit in (wanted, other):
        _dataset().save_to_disk(str(tmp_path / "someone___set" / commit))
    kept = [datasets.load_from_disk(str(tmp_path / "someone___set" / commit)) for commit in (wanted, other, other)]
    monkeypatch.setattr("datasets.load_dataset", lambda *given, **named: kept.pop(0))
    assert len(_rows(_open("someone/set", revision=wanted))) == 3
    with pytest.raises(UnreachableError, match=f"the cache holds another revision of someone/set than {wanted}"):
        _open("someone/set", revision=wanted)
    assert len(_rows(_open("someone/set", revision="main"))) == 3


def test_only_the_way_to_the_hub_is_what_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreachableError, match="OfflineModeIsEnabled"):
        _open("uoft-cs/cifar100")

    def gone(*given: Any, **named: Any) -> None:
        raise FileNotFoundError("Dataset 'someone/set' doesn't exist on the Hub or cannot be accessed.")

    monkeypatch.setattr("datasets.load_dataset", gone)
    with pytest.raises(UserError, match="doesn't exist on the Hub") as caught:
        _open("someone/set")
    assert not isinstance(caught.value, UnreachableError)


def test_splits_of_a_folder_of_parquet_files(tmp_path: Path) -> None:
    for name in ("train-00000", "test-00000"):
        _dataset(2 if name.startswith("train") else 1).to_parquet(str(tmp_path / f"{name}.parquet"))
    assert len(_rows(_open(tmp_path))) == 2
    assert len(_rows(_open(tmp_path, split="test"))) == 1
    with pytest.raises(UserError, match='Unknown split "tset"'):
        _open(tmp_path, split="tset")


def test_progress_bars_are_off_while_opening_and_on_again_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(datasets, "are_progress_bars_disabled", lambda: False)
    for name in ("disable_progress_bars", "enable_progress_bars"):
        monkeypatch.setattr(datasets, name, lambda name=name: calls.append(name))
    file = write_lines(tmp_path / "a.jsonl", [{"image": "x.png"}])
    _open(file)
    assert calls == ["disable_progress_bars", "enable_progress_bars"]
    monkeypatch.setattr(datasets, "are_progress_bars_disabled", lambda: True)
    _open(file)
    assert calls == ["disable_progress_bars", "enable_progress_bars", "disable_progress_bars"]


def test_library_does_not_speak_of_errors_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("image,text\na.png,red\nb.png,blue, green\n")
    spoken: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", spoken.append)
    before = datasets.utils.logging.get_verbosity()
    logging.getLogger("datasets").addHandler(handler)
    try:
        with pytest.raises(UserError):
            _open(tmp_path / "a.csv")
    finally:
        logging.getLogger("datasets").removeHandler(handler)
    assert spoken == []
    assert datasets.utils.logging.get_verbosity() == before


def test_embedded_digits_open() -> None:
    source = _open("digits")
    assert source.name == "digits"
    assert not source.is_stream
    assert _open("digits", streaming=True).is_stream


def test_importing_and_opening_local_files_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,text\na.png,x\n")
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from mmcl.data.sources import open_source\nfrom mmcl.recipe_data import SourceConfig\n"
        f"print(len(open_source(SourceConfig(path={str(tmp_path / 'a.csv')!r})).dataset))\n"
    )
    online = {key: value for key, value in os.environ.items() if "OFFLINE" not in key}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**online, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"


@pytest.mark.skipif(not (SHARED / "emoji").is_dir(), reason="the shared data is not on this machine")
def test_shared_emoji_and_clothing_open() -> None:
    emoji = _open(SHARED / "emoji" / "noto")
    assert {"image", "text", "concept"} <= set(emoji.columns)
    assert decode_image(emoji.dataset[0]["image"]).mode == "RGB"
    clothing = _open(SHARED / "clothing", split="validation")
    assert len(clothing.dataset.features["label"].names) == 10


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("path", ["*.txt", ""])
def test_texts_are_lines_and_blank_ones_are_skipped(tmp_path: Path, streaming: bool, path: str) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\n\n \t\n  two \n".encode())
    (tmp_path / "b.txt").write_bytes("drei\u2028vier\n\nfünf".encode())
    source = open_source(SourceConfig(path=str(tmp_path / path), streaming=streaming))
    assert source.columns == ("text",)
    assert [row["text"] for row in source.dataset] == ["one", "  two ", "drei\u2028vier", "fünf"]
    limited = open_source(SourceConfig(path=str(tmp_path / path), streaming=streaming, limit=2))
    assert [row["text"] for row in limited.dataset] == ["one", "  two "]


def test_any_file_can_be_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# A\nb\n")
    source = open_source(SourceConfig(path=str(tmp_path / "notes.md"), format="text"))
    assert source.dataset["text"][:] == ["# A", "b"]


def test_text_without_a_line_or_not_in_utf8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n")
    (tmp_path / "b.txt").write_bytes("für".encode("latin-1"))
    with pytest.raises(UserError, match=r"data.train.path: .*a.txt holds no rows"):
        open_source(SourceConfig(path=str(tmp_path / "a.txt")))
    with pytest.raises(UserError, match=r"data.train.path: cannot read .*b.txt as text: .*utf-8"):
        open_source(SourceConfig(path=str(tmp_path / "b.txt")))


def test_splits_of_digits_open() -> None:
    assert len(open_source(SourceConfig(path="digits", split="test")).dataset) == 450
    with pytest.raises(UserError, match=r'no split "validation" in digits'):
        open_source(SourceConfig(path="digits", split="validation"))
