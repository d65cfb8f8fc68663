"""Figures of embeddings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import EvaluationError, RepresentationHealthTask, TaskResult, write_report
from evaluation.metrics import alignment, effective_rank, modality_gap, spread, uniformity
from tests.evaluation.fakes import CollapsedEmbedder, ColourEmbedder, picture

COLOURS = ["red", "green", "blue", "white"]
CAPTIONS = [["red"], ["green", "a green one"], ["blue"], ["white red", "red"]]


class OfPictures(ColourEmbedder):
    modalities = ("image",)

    def encode_texts(self, texts: Any) -> np.ndarray:
        raise AssertionError("it has no text tower")


def task_of(**fields: Any) -> RepresentationHealthTask:
    given: dict[str, Any] = {"images": [picture(name) for name in COLOURS], "captions": CAPTIONS, "dataset": "colours"}
    return RepresentationHealthTask(**{**given, "resamples": 300, **fields})


def test_figures_are_those_of_the_metrics() -> None:
    result, embedder = task_of().evaluate(ColourEmbedder()), ColourEmbedder()
    texts = ["red", "green", "a green one", "blue", "white red"]
    images, encoded = embedder.encode_images(task_of().images), embedder.encode_texts(texts)
    pairs = ([0, 1, 1, 2, 3, 3], [0, 1, 2, 3, 4, 0])
    assert result.metrics == {
        "image_uniformity": uniformity(images),
        "image_spread": spread(images),
        "image_effective_rank": effective_rank(images),
        "text_uniformity": uniformity(encoded),
        "text_spread": spread(encoded),
        "text_effective_rank": effective_rank(encoded),
        "alignment": alignment(images[pairs[0]], encoded[pairs[1]]),
        "modality_gap": modality_gap(images, encoded),
    }
    assert {result.unit(name) for name in result.metrics} == {"number"}
    assert (result.num_examples, result.example_name) == (4, "rows")


def test_intervals_hold_what_they_are_of() -> None:
    rng = np.random.default_rng(0)
    names = [" ".join(rng.choice(["red", "green", "blue"], 2)) for _ in range(60)]
    captions = [[f"{name} {row}"] for row, name in enumerate(names)]
    task = task_of(images=[picture(name.split()[0]) for name in names], captions=captions)
    result = task.evaluate(ColourEmbedder())
    assert set(result.intervals) == {"image_spread", "text_spread", "alignment", "modality_gap"}
    for name in ("image_spread", "text_spread", "alignment"):
        assert result.intervals[name].low < result.metrics[name] < result.intervals[name].high
    grouped = task_of(groups=[0, 0, 1, 1]).evaluate(ColourEmbedder())
    assert {one.num_units for one in grouped.intervals.values()} == {2}


def test_intervals_are_of_the_figures_of_rows_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "evaluation.tasks.representation_health.bootstrap_intervals", lambda statistic, *_, **__: seen.append(statistic)
    )
    captions = [["red"], ["green", "a cyan one"], ["blue"], ["white red", "yellow"]]
    task, embedder = task_of(captions=captions), ColourEmbedder()
    task.evaluate(embedder)
    images, weights = embedder.encode_images(task.images), np.array([[1.0, 2.0, 0.0, 1.0]])
    texts = embedder.encode_texts(["red", "green", "a cyan one", "green", "a cyan one", "white red", "yellow"])
    drawn = images[[0, 1, 1, 3]]
    expected = [
        spread(drawn),
        spread(texts),
        alignment(images[[0, 1, 1, 1, 1, 3, 3]], texts),
        modality_gap(drawn, texts),
    ]
    np.testing.assert_allclose(seen[0](weights)[0], expected, rtol=1e-6)


def test_a_collapsed_model_is_seen() -> None:
    metrics = task_of().evaluate(CollapsedEmbedder()).metrics
    assert metrics["image_spread"] == metrics["text_spread"] == pytest.approx(0, abs=1e-6)
    assert metrics["image_uniformity"] == pytest.approx(0, abs=1e-6)
    assert metrics["image_effective_rank"] == pytest.approx(1)


def test_what_the_data_or_the_model_lack_is_left_out(tmp_path: Path) -> None:
    names = {"uniformity", "spread", "effective_rank"}
    without_texts = task_of(captions=()).evaluate(ColourEmbedder())
    assert set(without_texts.metrics) == {f"image_{name}" for name in names}
    assert set(task_of(images=()).evaluate(ColourEmbedder()).metrics) == {f"text_{name}" for name in names}
    result = task_of().evaluate(OfPictures())
    assert result.metrics == without_texts.metrics
    with pytest.raises(EvaluationError, match="colours encodes images, and there are none"):
        task_of(images=()).evaluate(OfPictures())
    assert TaskResult.read(result.write(tmp_path / "result.json")) == result
    assert write_report(tmp_path / "report.html", "t", [result]).stat().st_size > 1000


def test_of_many_rows_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.tasks.representation_health.MAX_ROWS", 3)
    result = task_of(groups=[5, 6, 7, 8]).evaluate(ColourEmbedder())
    rows = [int(row) for row in result.examples["id"]]
    assert (result.num_examples, len(rows)) == (3, 3)
    assert result.notes[0] == "Of 4 rows 3 are looked at, drawn by chance."
    assert result.examples["group"].tolist() == [5 + row for row in rows]
    some = [task_of().images[row] for row in rows]
    alone = task_of(images=some, captions=[CAPTIONS[row] for row in rows]).evaluate(ColourEmbedder())
    for name in ("image_uniformity", "image_spread", "text_spread", "alignment", "modality_gap"):
        assert result.metrics[name] == alone.metrics[name]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": (), "captions": ()}, "needs at least two pictures or two different texts"),
        ({"images": [picture("red")], "captions": [["red"]]}, "needs at least two pictures or two different texts"),
        ({"captions": CAPTIONS[:3]}, "4 rows must have as many captions, got 3"),
        ({"groups": [1]}, "4 rows must have as many groups, got 1"),
        ({"captions": ["red"] * 4}, "every row has a list of texts, got 'red' for row 0"),
        ({"captions": [["red"], [" "], [], []]}, r"every row has a list of texts, got \[' '\] for row 1"),
    ],
)
def test_what_cannot_be_judged_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=f"colours: .*{message}"):
        task_of(**fields)
