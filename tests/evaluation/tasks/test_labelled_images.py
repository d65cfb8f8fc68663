"""What the three tasks that learn from labelled pictures have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import (
    CachedEmbedder,
    EvaluationError,
    FewLabelTask,
    KNNTask,
    LinearProbeTask,
    RawPixels,
    TaskResult,
    write_report,
)
from evaluation.report.report import render_report
from evaluation.tasks.labelled_images import LabelledImagesTask
from tests.evaluation.fakes import CollapsedEmbedder, ColourEmbedder, RebuildableColours
from tests.evaluation.tasks.labelled import CLASSES, NoisyPictures, labelled_rows

KINDS = pytest.mark.parametrize("kind", [KNNTask, LinearProbeTask, FewLabelTask])


def first_metric(result: TaskResult) -> float:
    value = result.metrics[result.headline[-1]]
    assert value is not None
    return value


def test_all_three_share_one_encoding_of_the_same_rows() -> None:
    rows, inner = labelled_rows(), ColourEmbedder()
    cached = CachedEmbedder(inner)
    shared = [kind(**rows).evaluate(cached) for kind in (KNNTask, LinearProbeTask, FewLabelTask)]
    assert inner.num_images == 60 + 45
    assert inner.num_texts == 0
    assert shared == [kind(**rows).evaluate(ColourEmbedder()) for kind in (KNNTask, LinearProbeTask, FewLabelTask)]


@KINDS
def test_results_are_whole_and_valid_json(kind: type[LabelledImagesTask], tmp_path: Path) -> None:
    result = kind(**labelled_rows(baselines=True)).evaluate(ColourEmbedder())
    json.loads(result.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert TaskResult.read(result.write(tmp_path / "result.json")) == result
    assert result.protocol["num_train_examples"] == 60
    assert result.num_examples == 45
    assert set(result.intervals) >= set(result.headline) == set(result.chance)
    for name, interval in result.intervals.items():
        assert interval.low <= result.metrics[name] <= interval.high
    assert write_report(tmp_path / "report.html", "t", [result]).stat().st_size > 1000


@KINDS
def test_every_class_has_scores_where_there_is_one_answer_per_picture(kind: type[LabelledImagesTask]) -> None:
    result = kind(**labelled_rows(groups=[row // 3 for row in range(45)])).evaluate(ColourEmbedder())
    if kind is FewLabelTask:
        assert result.per_class == {}
        return
    assert tuple(result.per_class) == CLASSES
    recalls = [one.recall for one in result.per_class.values()]
    assert np.mean(recalls) == pytest.approx(result.metrics["mean_per_class_recall"])
    assert np.mean([one.f1 for one in result.per_class.values()]) == pytest.approx(result.metrics["macro_f1"])
    assert {(one.support, one.recall_interval.num_units) for one in result.per_class.values()} == {(15, 15)}


@KINDS
def test_a_seeing_embedder_beats_chance_and_a_collapsed_one_does_not(kind: type[LabelledImagesTask]) -> None:
    seeing, blind = (kind(**labelled_rows()).evaluate(one) for one in (ColourEmbedder(), CollapsedEmbedder()))
    assert first_metric(seeing) > 0.8
    assert first_metric(blind) == pytest.approx(1 / 3)
    assert seeing.chance[seeing.headline[-1]] == pytest.approx(1 / 3)


@KINDS
def test_raw_pixels_stand_beside_and_are_computed_once_per_task(kind: type[LabelledImagesTask]) -> None:
    rows = labelled_rows(baselines=True)
    task = kind(**rows)
    first, second = task.evaluate(ColourEmbedder()), task.evaluate(CollapsedEmbedder())
    assert rows["images"].num_decoded == 2 * 45  # one by the colours, one by the pixels
    alone = kind(**labelled_rows()).evaluate(RawPixels())
    for name in alone.headline:
        assert first.metrics[f"raw_pixels/{name}"] == second.metrics[f"raw_pixels/{name}"] == alone.metrics[name]
        assert first.intervals[f"raw_pixels/{name}"] == alone.intervals[name]
    assert not any(name.startswith("raw_pixels") for name in first.headline)
    assert "Raw pixels by the same protocol: acc1" in first.notes[-1]
    assert not any(name.startswith("raw_pixels") for name in alone.metrics)


@KINDS
def test_the_untrained_encoder_stands_beside_and_is_computed_once(kind: type[LabelledImagesTask]) -> None:
    rows = labelled_rows(baselines=True)
    task = kind(**rows)
    first, _ = task.evaluate(RebuildableColours()), task.evaluate(RebuildableColours())
    assert rows["images"].num_decoded == 4 * 45  # twice by the colours, once untrained, once by the pixels
    alone = kind(**labelled_rows()).evaluate(RebuildableColours(seed=0))
    for name in alone.headline:
        assert first.metrics[f"untrained/{name}"] == alone.metrics[name]
        assert first.intervals[f"untrained/{name}"] == alone.intervals[name]
    assert "The untrained encoder by the same protocol: acc1" in first.notes[-1]
    assert first.protocol["untrained"]["seed"] == 0
    assert not any(name.startswith("untrained") for name in (*first.headline, *alone.metrics))


@KINDS
def test_intervals_resample_groups_where_there_are_some(kind: type[LabelledImagesTask]) -> None:
    groups = [row // 3 for row in range(45)]
    result = kind(**labelled_rows(groups=groups)).evaluate(ColourEmbedder())
    assert {one.num_units for one in result.intervals.values()} == {15}
    assert {one.num_units for one in kind(**labelled_rows()).evaluate(ColourEmbedder()).intervals.values()} == {45}
    assert result.examples["group"].tolist() == groups


@KINDS
def test_a_test_class_that_no_training_row_has_is_missed_and_told(kind: type[LabelledImagesTask]) -> None:
    rows = labelled_rows(num_train=60)
    kept = [row for row in range(60) if row % 3 != 2]
    train = [rows["train_labels"][row] for row in kept]
    rows |= {"train_images": NoisyPictures(train, seed=0), "train_labels": train}
    result = kind(**rows).evaluate(ColourEmbedder())
    assert result.notes[0] == ("15 of 45 pictures are of classes without a training row (red) and count as missed.")
    assert first_metric(result) <= 2 / 3
    assert result.chance[result.headline[0]] == pytest.approx(1 / 3)


@KINDS
def test_a_training_class_that_no_test_row_has_may_be_named_wrongly(kind: type[LabelledImagesTask]) -> None:
    rows = labelled_rows(images=NoisyPictures(["red"] * 20, seed=1), labels=["red"] * 20)
    result = kind(**rows).evaluate(ColourEmbedder())
    assert result.notes == ()
    assert 0.5 < first_metric(result) < 1
    assert result.chance[result.headline[0]] == pytest.approx(1 / 3)


def test_a_report_shows_the_numbers_of_all_three() -> None:
    rows = labelled_rows()
    results = [kind(**rows).evaluate(ColourEmbedder()) for kind in (KNNTask, LinearProbeTask, FewLabelTask)]
    log = [{"step": step, "colours/few_label/acc1@5_labels": 0.5} for step in (1, 2)]
    page = render_report("t", results, training_log=log)
    for shown in ("knn", "linear probe", "few label", "acc1@10_labels", "mean_per_class_recall", "purple"):
        assert shown in page
    assert "colours/few_label/acc1@5_labels" in page


SOME = [CLASSES[row % 3] for row in range(45)]


@KINDS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [], "labels": []}, "needs test pictures, got none"),
        ({"train_images": [], "train_labels": []}, "needs training pictures, got none"),
        ({"labels": ["red"]}, "45 test pictures must have as many labels, got 1"),
        ({"train_labels": ["red"]}, "60 training pictures must have as many labels, got 1"),
        (
            {"labels": [None, *SOME[1:]]},
            "every test picture must have a label, 1 of 45 have none, first: test picture 0",
        ),
        ({"groups": [1]}, "45 test pictures must have as many groups, got 1"),
        ({"train_labels": ["red"] * 60}, "training pictures of at least two classes needed, got 1"),
        ({"labels": ["blue"] * 45}, "those have green, purple, red, the test pictures blue"),
    ],
)
def test_what_cannot_be_judged_is_refused_at_once(
    kind: type[LabelledImagesTask], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EvaluationError, match=f"colours: .*{message}"):
        kind(**labelled_rows(**changes))


@KINDS
def test_rows_that_are_both_learnt_from_and_judged_on_are_refused(kind: type[LabelledImagesTask]) -> None:
    rows = labelled_rows(num_train=45)
    with pytest.raises(EvaluationError, match="the pictures learnt from are those judged on"):
        kind(**(rows | {"images": rows["train_images"]}))


def test_the_labels_are_what_the_metrics_say() -> None:
    result = KNNTask(**labelled_rows()).evaluate(ColourEmbedder())
    right = result.examples["prediction"] == result.examples["label"]
    assert result.metrics["acc1"] == pytest.approx(right.mean())
    per_class = [right[result.examples["label"] == index].mean() for index in range(3)]
    assert result.metrics["mean_per_class_recall"] == pytest.approx(np.mean(per_class))
    assert result.exhibits.confusion is not None
    assert result.exhibits.confusion.class_names == CLASSES
    assert np.trace(result.exhibits.confusion.counts) == right.sum()
