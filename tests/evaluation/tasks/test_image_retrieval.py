"""Pictures that find pictures of their label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation import EvaluationError, ImageRetrievalTask, TaskResult, write_report
from tests.evaluation.fakes import CollapsedEmbedder, ColourEmbedder, picture

COLOURS = ["red", "yellow", "green", "cyan", "blue", "white"]
# By the colours' cosines red finds yellow, green cyan, and blue cyan before green.
LABELS = ["warm", "warm", "cold", "cold", "cold", "none"]


def task_of(**fields: Any) -> ImageRetrievalTask:
    given: dict[str, Any] = {"images": [picture(name) for name in COLOURS], "labels": LABELS, "dataset": "colours"}
    return ImageRetrievalTask(**{**given, "resamples": 50, **fields})


def test_each_picture_is_sought_among_all_others() -> None:
    result = task_of().evaluate(ColourEmbedder())
    assert (result.num_examples, result.example_name) == (5, "queries")
    assert result.examples["id"].tolist() == ["0", "1", "2", "3", "4"]
    assert result.protocol == {"num_candidates": 5, "leave_one_out": True}
    assert result.metrics["recall@5"] == 1
    assert result.metrics["recall@1"] == (result.examples["rank"] == 1).mean()
    assert result.notes[0] == "1 of 6 pictures have nothing to find and are no queries."
    assert result.chance["recall@1"] == pytest.approx((2 * 1 / 5 + 3 * 2 / 5) / 5)
    assert set(result.chance) == set(result.intervals) == set(result.metrics) - {"ties"}


def test_a_gallery_is_searched_whole() -> None:
    gallery = [picture("red", 0.9), picture("green"), picture("blue")]
    result = task_of(gallery=gallery, gallery_labels=["cold", "cold", "warm"]).evaluate(ColourEmbedder())
    # Red and yellow are nearest to the dark red, which is not theirs; the blue one is.
    ranks = dict(zip(result.examples["id"].tolist(), result.examples["rank"].tolist(), strict=True))
    assert ranks["0"] > 1
    assert ranks["2"] == 1
    assert (result.num_examples, result.protocol["num_candidates"]) == (5, 3)


def test_a_collapsed_model_finds_nothing_at_the_first_place() -> None:
    result = task_of().evaluate(CollapsedEmbedder())
    assert result.metrics["recall@1"] == result.metrics["map@r"] == 0
    assert result.metrics["ties"] == 5
    assert "For 5 of 5 queries a picture of another label scored exactly as high" in result.notes[1]


def test_labels_may_be_numbers_and_groups_are_resampled_together() -> None:
    result = task_of(labels=[0, 0, 1, 1, 1, 2], groups=[0, 0, 1, 1, 2, 3]).evaluate(ColourEmbedder())
    assert result.metrics == task_of().evaluate(ColourEmbedder()).metrics
    assert {one.num_units for one in result.intervals.values()} == {3}
    assert result.examples["group"].tolist() == [0, 0, 1, 1, 2]


def test_the_report_shows_what_was_found(tmp_path: Path) -> None:
    result = task_of().evaluate(ColourEmbedder())
    for example in result.exhibits.image_queries:
        assert example.query.picture is not None
        assert example.wanted.is_relevant
        assert example.candidates[0].is_relevant == (example.rank == 1)
        assert len(example.candidates) == example.num_candidates == 5
    assert TaskResult.read(result.write(tmp_path / "result.json")) == result
    assert write_report(tmp_path / "report.html", "t", [result]).stat().st_size > 1000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": [], "labels": []}, "image_retrieval needs pictures, got none"),
        ({"labels": LABELS[1:]}, "6 pictures must have as many labels, got 5"),
        ({"labels": [*LABELS[1:], None]}, "1 pictures have no label, first: 5"),
        ({"labels": list(range(6))}, "no picture has anything to find: no two have one label"),
        (
            {"gallery": [picture("red")], "gallery_labels": ["x"]},
            "no picture has anything to find: no label of theirs occurs in the gallery",
        ),
        ({"gallery": [picture("red")]}, "1 pictures of the gallery must have as many labels, got 0"),
        ({"gallery_labels": ["x"]}, "gallery_labels belong to a gallery, and there is none"),
        ({"groups": [1]}, "6 pictures must have as many groups, got 1"),
        ({"ids": ["a"] * 6}, 'ids must differ, "a" occurs 6 times'),
    ],
)
def test_what_cannot_be_judged_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=f"colours: {message}"):
        task_of(**fields)
