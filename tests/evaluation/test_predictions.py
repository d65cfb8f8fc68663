"""The outcome of every example as a parquet file."""

from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation import EvaluationError, FewLabelTask, KNNTask, RetrievalTask, TaskResult
from evaluation.predictions import read_predictions, write_predictions
from tests.evaluation.fakes import ColourEmbedder, picture
from tests.evaluation.tasks.labelled import CLASSES, labelled_rows


def result_of(**examples: Any) -> TaskResult:
    return TaskResult(dataset="d", model="m", task="t", metrics={"acc1": 0.5}, num_examples=2, examples=examples)


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in expected.items()
    )


def test_columns_come_back_as_they_were_whatever_their_lengths(tmp_path: Path) -> None:
    columns = {
        "id": np.array(["a", "", "ü"]),
        "rank": np.array([3, 1, 2]),
        "cosine": np.array([0.5, np.nan], dtype=np.float32),  # which is no null
        "score": np.array([1.5, 2.0, -np.inf]),
        "is_right": np.array([True]),
        "drawn": np.arange(4).reshape(2, 2),
    }
    path = write_predictions(tmp_path / "deep" / "p.parquet", result_of(**columns))
    found = read_predictions(path)
    for name, array in columns.items():
        assert found[name].dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(found[name], array)
    assert found["cosine"].dtype == np.float32
    assert pq.read_table(path)["drawn"].to_pylist() == [[0, 1], [2, 3], None]
    assert not list(tmp_path.rglob("*.part"))


def test_classes_are_named_in_the_file_and_indices_in_a_result(tmp_path: Path) -> None:
    result = KNNTask(**labelled_rows(ids=[f"photo {row}" for row in range(45)])).evaluate(ColourEmbedder())
    result.write(tmp_path / "r.json")
    found = read_predictions(tmp_path / "r.parquet")
    assert found["id"][7] == "photo 7"
    assert found["label"].tolist() == [CLASSES[row % 3] for row in range(45)]
    assert set(found["prediction"]) <= set(CLASSES)
    back = TaskResult.read(tmp_path / "r.json")
    assert back.class_names == CLASSES
    assert same(dict(back.examples), dict(result.examples))


def test_several_draws_of_a_prediction_stay_together(tmp_path: Path) -> None:
    result = FewLabelTask(**labelled_rows(), num_seeds=3).evaluate(ColourEmbedder())
    back = TaskResult.read(result.write(tmp_path / "r.json"))
    assert back.examples["prediction@5_labels"].shape == (45, 3)
    assert same(dict(back.examples), dict(result.examples))
    assert pq.read_table(tmp_path / "r.parquet")["prediction@5_labels"][0].as_py()[0] in CLASSES


def test_pictures_and_texts_of_retrieval_need_not_be_as_many(tmp_path: Path) -> None:
    pictures = [picture("red"), picture("blue")]
    task = RetrievalTask.from_captions(pictures, [["red", "not green"], ["blue"]], dataset="d", resamples=10)
    result = task.evaluate(ColourEmbedder())
    back = TaskResult.read(result.write(tmp_path / "r.json"))
    assert same(dict(back.examples), dict(result.examples))
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 3


def test_a_result_without_examples_leaves_none_of_an_older_one(tmp_path: Path) -> None:
    result = result_of(rank=np.array([1, 2]))
    result.write(tmp_path / "r.json")
    replace(result, examples={}).write(tmp_path / "r.json")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    assert TaskResult.read(tmp_path / "r.json").examples == {}


@pytest.mark.parametrize("text", [None, "not parquet"])
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "p.parquet").write_text(text)
    with pytest.raises(EvaluationError, match=r"p\.parquet: no file of predictions"):
        read_predictions(tmp_path / "p.parquet")


def test_without_pyarrow_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EvaluationError, match="pip install pyarrow"):
        write_predictions(tmp_path / "p.parquet", result_of(rank=np.array([1])))
