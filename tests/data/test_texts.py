from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcl.data.texts import draw_texts, read_texts
from mmcl.errors import UserError
from mmcl.recipe_data import SourceConfig

pytestmark = pytest.mark.usefixtures("empty_cache")


def _read(*paths: Path | str, columns: tuple[str, ...] = (), streaming: bool = False) -> list[str]:
    return list(read_texts([SourceConfig(path=str(path), streaming=streaming) for path in paths], columns))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text("zh,en,score\n你好,hello,1\n,only English,2\n再见, ,3\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("streaming", [False, True])
def test_texts_of_columns_and_lines_come_without_empty_ones(table: Path, tmp_path: Path, streaming: bool) -> None:
    (tmp_path / "lines.txt").write_text("first\n\nsecond\n")
    rows = [{"zh": ["一", None, "二"]}, {"zh": [None]}, {"zh": []}]
    (tmp_path / "lists.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.table({"sentence": ["alone"]}), tmp_path / "one.parquet")
    assert _read(table, columns=("zh", "en"), streaming=streaming) == ["你好", "再见", "hello", "only English"]
    assert _read(tmp_path / "lines.txt", streaming=streaming) == ["first", "second"]
    assert _read(tmp_path / "one.parquet", streaming=streaming) == ["alone"]
    both = _read(tmp_path / "lists.jsonl", tmp_path / "lines.txt", columns=("zh", "text"), streaming=streaming)
    assert both == ["一", "二", "first", "second"]


def test_standard_input_is_read_by_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO("\ufeff一\r\n\n two \n".encode())))
    assert _read("-") == ["一", " two "]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"one\ntwo\n")))
    assert list(read_texts([SourceConfig(path="-", limit=1)])) == ["one"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"one\n\xff\n")))
    with pytest.raises(UserError, match="standard input, line 2: not UTF-8"):
        _read("-")


@pytest.mark.parametrize("columns", [(), ("text",)])
def test_csv_file_without_a_line_of_names_is_told_of_them(tmp_path: Path, columns: tuple[str, ...]) -> None:
    (tmp_path / "graded.csv").write_text("A plane.,A jet.,5.0\nA man.,A dog.,0.5\n")
    with pytest.raises(UserError, match=r"If its first line is a row, name the columns in data\.train\.column_names\."):
        _read(tmp_path / "graded.csv", columns=columns)


def test_columns_that_are_missing_or_open_or_hold_no_text_are_one_error(table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'no column "zhh" in pairs.csv \(zh, en, score\). Did you mean "zh"\?'):
        _read(table, columns=("zhh",))
    with pytest.raises(UserError, match=r"pairs.csv has several columns; name those of the texts \(zh, en, score\)"):
        _read(table)
    (tmp_path / "numbers.jsonl").write_text('{"id": 7}\n')
    with pytest.raises(UserError, match=r'column "id" of numbers.jsonl, row 0: the caption is 7'):
        _read(tmp_path / "numbers.jsonl")


def test_a_sample_is_the_same_for_a_seed_and_in_order() -> None:
    texts = [f"{number:03}" for number in range(500)]
    drawn, num_read = draw_texts(iter(texts), 50, seed=1)
    assert (len(set(drawn)), num_read) == (50, 500)
    assert drawn == sorted(drawn)
    assert (drawn, 500) == draw_texts(texts, 50, seed=1)
    assert drawn != draw_texts(texts, 50, seed=2)[0]
    assert draw_texts(texts, None, seed=0) == (texts, 500)
    assert draw_texts(texts[:9], 50, seed=0) == (texts[:9], 9)


def test_every_text_is_as_likely_as_any_other() -> None:
    counts = Counter(text for seed in range(2000) for text in draw_texts("abcdefghij", 3, seed)[0])
    assert all(abs(counts[text] - 600) < 100 for text in "abcdefghij")  # five standard deviations
