from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcl.data.loader import TrainData, build_train_data
from mmcl.data.scores import score_of
from mmcl.recipe import Recipe
from tests.data.builders import CharacterTokenizer, Wants, recipe, wanting, write_lines

GRADED = Wants(("text.0", "text.1"), needs_scores=True)


def _rows(number: int = 8, **others: Any) -> list[dict[str, Any]]:
    return [{"anchor": f"a{row}", "positive": f"b{row}", "score": row / 2 - 1, **others} for row in range(number)]


def _data(train: Recipe, *objectives: Wants) -> TrainData:
    return build_train_data(wanting(train, *objectives), None, CharacterTokenizer())


def _scores(data: TrainData, **options: Any) -> dict[int, float]:
    """The scores of one batch by sample id."""
    batch = next(data.batches(**options))
    assert batch.scores is not None
    assert batch.scores.dtype == torch.float32
    return dict(zip(batch.sample_ids.tolist(), batch.scores.tolist(), strict=True))


@pytest.mark.parametrize(
    ("value", "score"), [(3, 3.0), (-0.5, -0.5), ("4.75", 4.75), (" 1e3 ", 1000.0), (True, 1.0), (np.float32(2), 2.0)]
)
def test_a_score_is_any_finite_number_or_the_text_of_one(value: Any, score: float) -> None:
    assert score_of(value) == score


@pytest.mark.parametrize("value", [None, float("nan"), "", "  "])
def test_nothing_is_no_score(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^the score is missing$"):
        score_of(value)


@pytest.mark.parametrize("value", ["good", "nan", "inf", float("-inf"), [1.0]])
def test_what_is_no_finite_number_is_no_score(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^the score is .*, which is no number$"):
        score_of(value)


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_bring_their_scores(tmp_path: Path, streaming: bool) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", _rows())
    train = recipe({"path": str(path), "streaming": streaming}, batch_size=8)
    assert _scores(_data(train, GRADED)) == {row: row / 2 - 1 for row in range(8)}


def test_scores_of_a_csv_file_without_names(tmp_path: Path) -> None:
    (tmp_path / "sts.csv").write_text("a,b,5.0\nc,d,2.4\n")
    source = {"path": str(tmp_path / "sts.csv"), "column_names": ["anchor", "positive", "score"]}
    assert _scores(_data(recipe(source, batch_size=2), GRADED)) == pytest.approx({0: 5.0, 1: 2.4})


def test_each_process_has_the_scores_of_its_rows(tmp_path: Path) -> None:
    data = _data(recipe(write_lines(tmp_path / "pairs.jsonl", _rows()), batch_size=8), GRADED)
    parts = [_scores(data, rank=rank, world_size=2) for rank in range(2)]
    assert [len(part) for part in parts] == [4, 4]
    assert parts[0] | parts[1] == {row: row / 2 - 1 for row in range(8)}


def test_no_scores_are_read_where_nobody_needs_them(tmp_path: Path) -> None:
    rows = [{**row, "score": "good"} for row in _rows()]
    data = _data(recipe(write_lines(tmp_path / "pairs.jsonl", rows)), Wants(("text.0", "text.1")))
    assert next(data.batches()).scores is None


@pytest.mark.parametrize("streaming", [False, True])
def test_row_without_a_score_is_left_out_with_the_reason(tmp_path: Path, streaming: bool) -> None:
    rows = _rows()
    rows[3]["score"], rows[5]["score"] = None, float("nan")
    path = write_lines(tmp_path / "pairs.jsonl", rows)
    train = recipe({"path": str(path), "streaming": streaming}, batch_size=6, max_unreadable=1.0)
    data = _data(train, GRADED)
    data.quarantine.write_to(tmp_path)
    assert set(_scores(data)) == {0, 1, 2, 4, 6, 7}
    assert (tmp_path / "quarantine.jsonl").read_text().count("the score is missing") == 2


def test_score_that_is_no_number_is_said(tmp_path: Path) -> None:
    (tmp_path / "sts.csv").write_text("anchor,positive,score\na,b,5.0\nc,d,good\ne,f,1\n")
    data = _data(recipe(tmp_path / "sts.csv", batch_size=2, max_unreadable=1.0), GRADED)
    assert any("1 because the score is 'good', which is no number" in line for line in data.remarks)


def test_row_without_a_score_serves_an_objective_that_needs_none(tmp_path: Path) -> None:
    rows = _rows()
    rows[3]["score"] = None
    data = _data(recipe(write_lines(tmp_path / "pairs.jsonl", rows), batch_size=8), GRADED, Wants(("text.0", "text.1")))
    scores = _scores(data)
    assert [row for row, score in scores.items() if score != score] == [3]
    assert not data.is_partial  # every row has its texts
    assert any("7 rows have caption, positive and score, 1 both caption and positive" in line for line in data.remarks)


def test_rows_of_a_source_without_scores_have_none(tmp_path: Path) -> None:
    graded = write_lines(tmp_path / "graded.jsonl", _rows(4))
    plain = write_lines(tmp_path / "plain.jsonl", [{"text": f"c{row}", "positive": f"d{row}"} for row in range(4)])
    train = recipe([{"path": str(graded)}, {"path": str(plain)}], batch_size=8)  # type: ignore[arg-type]
    scores = _scores(_data(train, GRADED, Wants(("text.0", "text.1"))))
    assert [scores[row] for row in range(4)] == [-1.0, -0.5, 0.0, 0.5]
    assert all(scores[row] != scores[row] for row in range(4, 8))


def test_a_part_of_a_batch_has_the_scores_of_its_rows(tmp_path: Path) -> None:
    data = _data(recipe(write_lines(tmp_path / "pairs.jsonl", _rows()), batch_size=8), GRADED)
    batch = next(data.batches())
    assert batch.scores is not None
    part = batch.part(2, 5).to(torch.device("cpu"))
    assert part.scores is not None
    assert torch.equal(part.scores, batch.scores[2:5])
    assert replace(batch, scores=None).part(2, 5).scores is None
