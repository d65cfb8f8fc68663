"""Results as JSON files and as HTML."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation import ClassScores, EvaluationError, Interval, TaskResult
from evaluation.results import library_versions


@pytest.fixture
def result() -> TaskResult:
    return TaskResult(
        dataset="glyphs é",
        model="runs/<b>x</b>",
        task="retrieval",
        metrics={"image_retrieval_recall@1": 0.527, "acc5": None, "image_retrieval_median_rank": 3.0},
        num_examples=12,
        reasons={"acc5": "only 3 classes"},
        intervals={"image_retrieval_recall@1": Interval(0.505, 0.549, 0.95, 12)},
        per_class={
            "cat": ClassScores(8, 0.5, 0.75, 0.6, Interval(0.4, 0.9, 0.95, 8)),
            "dog": ClassScores(0, None, None, None, None),
        },
        chance={"image_retrieval_recall@1": 0.001},
        units={"image_retrieval_median_rank": "rank"},
        headline=("image_retrieval_recall@1",),
        notes=("a note",),
        template_hash="abc",
        preprocessing={"size": 32, "mean": (0.5, 0.5, 0.5), "std": np.float32(0.25)},
        protocol={"k": np.int64(20), "grid": (0.1, 1.0)},
        versions={"numpy": "2"},
        examples={"rank": np.arange(12)},
    )


def test_a_file_keeps_everything_but_exhibits(result: TaskResult, tmp_path: Path) -> None:
    back = TaskResult.read(result.write(tmp_path / "deep" / "result.json"))
    assert back == result
    assert back.examples["rank"].tolist() == list(range(12))
    assert TaskResult.from_json(result.to_json()).examples == {}
    assert not list(tmp_path.rglob("*.part"))


def test_json_has_the_keys_of_the_field_and_fractions(result: TaskResult) -> None:
    record = json.loads(result.to_json())
    for key in ("dataset", "model", "pretrained", "task", "metrics", "language", "split", "num_examples"):
        assert key in record
    assert record["metrics"]["image_retrieval_recall@1"] == 0.527
    assert record["metrics"]["acc5"] is None
    assert record["preprocessing"] == {"size": 32, "mean": [0.5, 0.5, 0.5], "std": 0.25}
    assert record["protocol"] == {"k": 20, "grid": [0.1, 1.0]}
    assert "rank" not in record
    assert "examples" not in record


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_a_metric_is_never_nan(result: TaskResult, value: float) -> None:
    with pytest.raises(EvaluationError, match="acc1 must be finite"):
        replace(result, metrics={**result.metrics, "acc1": value})


def test_nan_elsewhere_never_reaches_the_json(result: TaskResult) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(result, chance={"acc5": float("nan")}).to_json()


def test_null_needs_a_reason_and_names_must_exist(result: TaskResult) -> None:
    with pytest.raises(EvaluationError, match="acc5 is null and must have a reason"):
        replace(result, reasons={})
    with pytest.raises(EvaluationError, match=r'"acc2" is no metric of this result \(image_retrieval_recall@1, acc5'):
        replace(result, headline=("acc2",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"dataset": "x", "surprise": 1}',
        '{"intervals": {"a": {"low": 1}}}',
        '{"per_class": {"a": {"recall": 1}}}',
        '{"per_class": {"a": 1}}',
    ],
)
def test_what_is_no_result_is_refused_with_the_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(EvaluationError, match=r"r\.json: not a result file"):
        TaskResult.read(tmp_path / "r.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file"):
        TaskResult.read(tmp_path / "none.json")


def test_html_shows_every_metric_and_escapes_names(result: TaskResult) -> None:
    shown = result._repr_html_()
    assert "52.7" in shown
    assert "<tr><th>metric</th><th>value</th>" in shown  # what the title says is not said in every row
    assert "<tr><td>" in shown
    assert "n/a (only 3 classes)" in shown
    assert "<b>" not in shown
    assert "&lt;b&gt;" in shown


def test_versions_of_what_is_installed() -> None:
    assert library_versions(("numpy", "no-such-library-anywhere")) == {"numpy": np.__version__}
