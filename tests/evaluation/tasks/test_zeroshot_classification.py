"""The zero-shot task from pictures to a result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, recall_score

from evaluation import (
    CachedEmbedder,
    EvaluationError,
    RetrievalTask,
    TaskResult,
    ZeroShotClassificationTask,
    template_set,
)
from evaluation.metrics import ClassRanks
from evaluation.pairing import resampled
from evaluation.tasks.zeroshot_classification import _resampled_metrics
from tests.evaluation.fakes import CollapsedEmbedder, ColourEmbedder, LazyPictures

SHOWN = ["red", "red", "red", "green", "blue", "yellow", "cyan", "white"]


def colour_task(**changes: object) -> ZeroShotClassificationTask:
    """Eight pictures of six colours; the third red one is labelled blue."""
    fields = {
        "images": LazyPictures(SHOWN),
        "labels": ["red", "red", "blue", *SHOWN[3:]],
        "dataset": "colours",
        "templates": ["a {} thing", "{}!"],
        "resamples": 200,
    }
    return ZeroShotClassificationTask(**(fields | changes))


def test_numbers_of_a_case_worked_by_hand() -> None:
    result = colour_task().evaluate(ColourEmbedder())
    assert result.metrics["acc1"] == pytest.approx(7 / 8)
    assert result.metrics["mean_per_class_recall"] == pytest.approx((5 + 1 / 2) / 6)
    assert result.metrics["macro_precision"] == pytest.approx((5 + 2 / 3) / 6)
    assert result.metrics["macro_recall"] == pytest.approx((5 + 1 / 2) / 6)
    assert result.metrics["macro_f1"] == pytest.approx((4 + 2 / 3 + 4 / 5) / 6)
    assert result.chance == pytest.approx({"acc1": 1 / 6, "acc5": 5 / 6, "mean_per_class_recall": 1 / 6})
    assert result.headline == ("acc1", "acc5", "mean_per_class_recall")
    assert result.reasons == {}
    assert result.num_examples == 8
    for name, interval in result.intervals.items():
        assert interval.low <= result.metrics[name] <= interval.high


def test_every_class_has_scores_of_its_own() -> None:
    result = colour_task(groups=[0, 0, 0, 1, 2, 3, 4, 5]).evaluate(ColourEmbedder())
    assert list(result.per_class) == sorted(set(SHOWN))
    blue, red = result.per_class["blue"], result.per_class["red"]
    assert (blue.support, blue.precision, blue.recall, blue.f1) == (2, 1.0, 0.5, pytest.approx(2 / 3))
    assert (red.support, red.precision, red.recall, red.f1) == (2, pytest.approx(2 / 3), 1.0, pytest.approx(4 / 5))
    assert [one.recall_interval.num_units for one in (blue, red)] == [2, 1]


def test_intervals_of_macro_metrics_are_those_of_resampled_examples() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, size=(2, 30))
    ranked = ClassRanks(
        predictions, np.where(labels == predictions, 1, rng.integers(2, 7, size=30)), np.zeros(30, bool)
    )
    drawn = rng.integers(0, 30, size=(5, 30))
    weights = np.stack([np.bincount(row, minlength=30) for row in drawn]).astype(float)
    found = _resampled_metrics(ranked, labels, 4)(weights)
    for row, values in zip(drawn, found, strict=True):  # the same metrics of rows written out
        truth, said = labels[row], predictions[row]
        macro = precision_recall_fscore_support(truth, said, average="macro", zero_division=0)[:3]
        expected = [
            (truth == said).mean(),
            (ranked.ranks[row] <= 5).mean(),
            recall_score(truth, said, labels=np.unique(truth), average="macro"),
            *macro,
        ]
        np.testing.assert_allclose(values, expected)


def test_acc5_is_null_with_a_reason_under_five_classes() -> None:
    task = colour_task(images=LazyPictures(SHOWN[:4]), labels=SHOWN[:4])
    result = task.evaluate(ColourEmbedder())
    assert result.metrics["acc5"] is None
    assert result.reasons == {"acc5": "only 2 classes, acc5 needs five"}
    assert result.headline == ("acc1", "mean_per_class_recall")
    assert "acc5" not in result.intervals
    assert '"acc5": null' in result.to_json()


def test_class_names_come_in_the_order_given_and_need_no_examples() -> None:
    names = {"w": "white", "r": "red", "g": "green"}
    task = colour_task(images=LazyPictures(["red", "green"]), labels=["r", "g"], class_names=names)
    result = task.evaluate(ColourEmbedder())
    assert result.metrics["acc1"] == 1.0
    assert result.metrics["mean_per_class_recall"] == 1.0
    assert result.exhibits.confusion.class_names == ("white", "red", "green")
    assert result.exhibits.confusion.counts.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert result.chance["acc1"] == pytest.approx(1 / 3)


def test_the_template_hash_is_of_the_prompts() -> None:
    hashes = [
        task.evaluate(ColourEmbedder()).template_hash
        for task in (colour_task(), colour_task(), colour_task(templates=["{}"]))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_intervals_resample_groups_where_there_are_some() -> None:
    result = colour_task(groups=[0, 0, 0, 1, 2, 3, 4, 5]).evaluate(ColourEmbedder())
    assert {one.num_units for one in result.intervals.values()} == {6}
    assert {one.num_units for one in colour_task().evaluate(ColourEmbedder()).intervals.values()} == {8}
    assert result.examples["group"].tolist() == [0, 0, 0, 1, 2, 3, 4, 5]


def test_a_collapsed_model_names_one_class_for_all_and_the_ties_are_told() -> None:
    result = colour_task().evaluate(CollapsedEmbedder())
    assert result.metrics["mean_per_class_recall"] == pytest.approx(1 / 6)
    assert result.metrics["ties"] == 8
    assert "8 of 8 pictures" in result.notes[0]


def test_numbers_do_not_depend_on_the_order_of_rows() -> None:
    task = colour_task()
    moved = replace(task, images=LazyPictures(SHOWN[::-1]), labels=task.labels[::-1])
    assert moved.evaluate(ColourEmbedder()).metrics == pytest.approx(task.evaluate(ColourEmbedder()).metrics)


def test_exhibits_show_the_classes_each_picture_was_given() -> None:
    result = colour_task().evaluate(ColourEmbedder())
    failed = [example for example in result.exhibits.image_queries if example.rank > 1]
    assert len(failed) == 1
    assert failed[0].candidates[0].item.text == "red"
    assert failed[0].wanted.item.text == "blue"
    assert failed[0].query.text == "blue"
    assert result.exhibits.similarity.scores.shape == (6, 6)
    assert result.exhibits.embeddings.text_labels == ("blue", "cyan", "green", "red", "white", "yellow")


def test_two_tasks_on_the_same_rows_share_the_embeddings() -> None:
    inner, task = ColourEmbedder(), colour_task()
    cached = CachedEmbedder(inner)
    retrieval = RetrievalTask.from_captions(
        task.images, [[name] for name in SHOWN], groups=[0, 0, 0, 1, 2, 3, 4, 5], dataset="colours", resamples=20
    )
    results = [task.evaluate(cached), retrieval.evaluate(cached)]
    assert inner.num_images == len(SHOWN)
    assert results == [task.evaluate(ColourEmbedder()), retrieval.evaluate(ColourEmbedder())]


def test_the_result_is_valid_json() -> None:
    text = colour_task().evaluate(ColourEmbedder()).to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "colours: zero-shot classification needs a label for every picture, got none"),
        ({"labels": ["red", None, *SHOWN[2:]]}, "1 of 8 have none, first: picture 1"),
        ({"labels": ["red"]}, "8 pictures must have as many labels, got 1"),
        ({"groups": [1]}, "8 pictures must have as many groups, got 1"),
        ({"images": [], "labels": []}, "classification needs pictures, got none"),
        ({"labels": ["red"] * 8}, "at least two classes, got 1"),
        ({"class_names": dict.fromkeys(["red", "green"], "same")}, '"blue" has none'),
        ({"class_names": dict.fromkeys(SHOWN, "same")}, 'all 6 classes are called "same"'),
        ({"templates": ["no place"]}, 'colours: a template needs a place {} for the class name, got "no place"'),
        ({"templates": []}, "at least one template"),
        ({"class_names": dict(zip([*SHOWN, "blu"], [*SHOWN, ""], strict=True))}, "empty one for class"),
        (
            {"class_names": {name: name for name in SHOWN if name != "blue"} | {"blues": "blues"}},
            '"blue" has none .*Did you mean "blues"',
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_at_once(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        colour_task(**changes)


def test_a_published_set_of_templates_is_named_in_the_protocol_and_hashed_as_its_prompts() -> None:
    named = colour_task(templates="simple").evaluate(ColourEmbedder())
    listed = colour_task(templates=template_set("simple")).evaluate(ColourEmbedder())
    assert (named.protocol, listed.protocol) == ({"templates": "simple"}, {})
    assert named.template_hash == listed.template_hash
    assert named.metrics == listed.metrics
    with pytest.raises(EvaluationError, match=r'colours: no templates are called "simpel".*Did you mean "simple"'):
        colour_task(templates="simpel")


def test_classes_of_one_name_score_the_same_and_the_first_is_taken() -> None:
    names = {"r": "red", "g": "green", "r2": "red"}
    result = colour_task(images=LazyPictures(["red", "red"]), labels=["r", "r2"], class_names=names).evaluate(
        ColourEmbedder()
    )
    assert result.metrics["acc1"] == 0.5
    assert result.metrics["ties"] == 2
    assert list(result.per_class) == ["red (0)", "green", "red (2)"]


def test_classes_that_share_a_name_stay_two_in_the_file(tmp_path: Path) -> None:
    """ImageNet's published names have two such pairs."""
    names = {"red": "red", "white": "red"} | {name: name for name in SHOWN if name not in ("red", "white")}
    result = colour_task(class_names=names).evaluate(ColourEmbedder())
    assert result.class_names[:2] == ("red (0)", "red (1)")
    read = TaskResult.read(result.write(tmp_path / "x.json"))
    metric = "mean_per_class_recall"
    found = resampled(read, metric)
    assert found is not None
    assert found.statistic(np.ones((1, 8)))[0, 0] == pytest.approx(result.metrics[metric])
