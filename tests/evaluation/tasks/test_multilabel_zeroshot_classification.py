"""The task of several labels per picture, from pictures to a result."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from evaluation import EvaluationError, MultiLabelZeroShotTask, TaskResult
from evaluation.metrics import class_weights, similarity
from evaluation.tasks.multilabel_zeroshot_classification import AT_K, resampled_label_scores
from tests.evaluation.fakes import CollapsedEmbedder, ColourEmbedder, LazyPictures

SHOWN = ["red", "green", "blue", "yellow", "cyan", "white"]
LABELS = [["red"], ["green", "cyan"], ["blue", "cyan"], ["yellow", "red"], [], ["white", "yellow", "cyan", "red"]]


def colour_task(**changes: object) -> MultiLabelZeroShotTask:
    fields = {"images": LazyPictures(SHOWN), "labels": LABELS, "dataset": "colours", "resamples": 100}
    return MultiLabelZeroShotTask(**(fields | changes))


def scores_and_targets() -> tuple[np.ndarray, np.ndarray]:
    embedder, names = ColourEmbedder(), sorted(SHOWN)
    weights = class_weights(embedder.encode_texts([f"a photo of a {name}." for name in names]), len(names))
    targets = np.array([[name in labels for name in names] for labels in LABELS])
    return similarity(embedder.encode_images(LazyPictures(SHOWN)), weights), targets


def test_numbers_are_those_of_scikit_learn_on_the_same_embeddings() -> None:
    result = colour_task().evaluate(ColourEmbedder())
    scores, targets = scores_and_targets()
    assert result.metrics["mean_average_precision"] == pytest.approx(average_precision_score(targets, scores))
    given = np.zeros_like(targets)
    np.put_along_axis(given, np.argsort(-scores, axis=1)[:, :3], True, axis=1)
    for mean in ("micro", "macro"):
        expected = precision_recall_fscore_support(targets, given, average=mean, zero_division=0)[:3]
        assert [result.metrics[name] for name in AT_K if name.startswith(mean)] == pytest.approx(list(expected))
    precision, recall, f1, support = precision_recall_fscore_support(targets, given, zero_division=np.nan)
    by_class = average_precision_score(targets, scores, average=None)
    assert list(result.per_class) == sorted(SHOWN)
    for index, one in enumerate(result.per_class.values()):
        found = [np.nan if value is None else value for value in (one.precision, one.recall, one.f1)]
        assert found == pytest.approx([precision[index], recall[index], f1[index]], nan_ok=True)
        assert (one.support, one.average_precision) == (support[index], pytest.approx(by_class[index]))
    assert result.headline == ("mean_average_precision",)
    assert set(result.intervals) == {"mean_average_precision", *AT_K}
    assert 0 < result.chance["mean_average_precision"] < result.metrics["mean_average_precision"]


def test_intervals_are_those_of_resampled_pictures() -> None:
    scores, targets = scores_and_targets()
    drawn = np.random.default_rng(0).integers(0, 6, size=(8, 6))
    weights = np.stack([np.bincount(row, minlength=6) for row in drawn]).astype(float)
    found = resampled_label_scores(scores, targets)(weights)
    whole = np.concatenate([resampled_label_scores(scores[row], targets[row])(np.ones((1, 6))) for row in drawn])
    np.testing.assert_allclose(found, whole)


def test_the_result_survives_its_file_and_holds_no_nan() -> None:
    result = colour_task(class_names={name: name for name in [*SHOWN, "black"]}).evaluate(ColourEmbedder())
    text = result.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert TaskResult.from_json(text) == result
    assert result.per_class["black"].average_precision is None
    assert result.notes == ("1 of 7 classes are those of no picture; no mean counts their precision.",)
    assert result.examples["target"].shape == result.examples["score"].shape == (6, 7)


def test_three_labels_of_three_classes_say_nothing() -> None:
    result = colour_task(images=LazyPictures(SHOWN[:3]), labels=[["red"], ["green"], ["blue"]]).evaluate(
        ColourEmbedder()
    )
    assert result.metrics["mean_average_precision"] == 1.0
    assert {result.metrics[name] for name in AT_K} == {None}
    assert set(result.intervals) == {"mean_average_precision"}
    assert result.per_class["red"].recall is None
    assert result.per_class["red"].average_precision == 1.0


def test_a_collapsed_model_has_the_share_of_pictures_with_each_label() -> None:
    result = colour_task().evaluate(CollapsedEmbedder())
    _, targets = scores_and_targets()
    assert result.metrics["mean_average_precision"] == pytest.approx(targets.mean())


class RandomEmbedder:
    """Embeds whatever it is given by chance."""

    name, fingerprint = "chance", "1"

    def encode_images(self, images: Sequence[object]) -> np.ndarray:
        rows = np.random.default_rng(len(images)).normal(size=(len(images), 16))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    encode_texts = encode_images


def test_a_mean_that_all_resamples_exceed_has_no_interval_and_says_why() -> None:
    labels = [[f"{row} {which}" for which in "abc"] for row in range(120)]
    result = colour_task(images=LazyPictures(["red"] * 120), labels=labels).evaluate(RandomEmbedder())
    assert "mean_average_precision" not in result.intervals
    assert "micro_recall@3" in result.intervals
    assert "has no interval: classes have so few pictures (1 in the median)" in result.notes[0]
    few = colour_task(images=LazyPictures(["red"] * 60), labels=[[f"class {row % 3}"] for row in range(60)])
    enough = few.evaluate(RandomEmbedder())
    assert "mean_average_precision" in enough.intervals
    assert enough.notes == ()


def test_intervals_resample_groups() -> None:
    result = colour_task(groups=[0, 0, 1, 1, 2, 2]).evaluate(ColourEmbedder())
    assert {one.num_units for one in result.intervals.values()} == {3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "needs pictures, got none"),
        ({"labels": [["red"]]}, "6 pictures must have as many lists of labels, got 1"),
        ({"labels": SHOWN}, "every picture must have a list of labels, got 'red' for 0"),
        ({"labels": [["red"], None, [], [], [], []]}, "got None for 1"),
        ({"labels": [[]] * 6}, "none of 6 pictures has a label"),
        ({"labels": [["red"]] * 6}, "at least two classes, got 1"),
        ({"class_names": {"red": "red", "gren": "g"}}, '"blue" has none'),
        ({"groups": [1]}, "as many groups, got 1"),
        ({"templates": ["no place"]}, "a place {} for the class name"),
    ],
)
def test_what_cannot_be_judged_is_refused_at_once(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        colour_task(**changes)
