"""The clustering task from pictures or texts to a result."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation import ClusteringTask, EvaluationError, TaskResult
from evaluation.metrics import cluster_scores, kmeans_clusters
from evaluation.tasks.clustering import METRICS
from tests.evaluation.fakes import AngleEmbedder, CollapsedEmbedder, ColourEmbedder
from tests.evaluation.tasks.labelled import CLASSES, NoisyPictures, indices

LABELS = [CLASSES[row % 3] for row in range(45)]
TEXTS = [f"text {angle}" for angle in (0, 2, 4, 90, 92, 94)]


def picture_task(**changes: object) -> ClusteringTask:
    fields = {"images": NoisyPictures(LABELS, seed=1), "labels": LABELS, "dataset": "colours", "resamples": 200}
    return ClusteringTask(**(fields | changes))


def test_numbers_are_means_over_the_seeds() -> None:
    result = picture_task(num_seeds=3).evaluate(ColourEmbedder())
    rows = ColourEmbedder().encode_images(NoisyPictures(LABELS, seed=1))
    scores = [cluster_scores(indices(LABELS), kmeans_clusters(rows, 3, seed), 3) for seed in range(3)]
    for name in METRICS:
        values = [getattr(one, name.replace("clustering_", "")) for one in scores]
        assert result.metrics[name] == pytest.approx(np.mean(values))
        assert result.metrics[f"{name}_std"] == pytest.approx(np.std(values, ddof=1))
    assert result.headline == ("v_measure", "clustering_accuracy")
    assert list(result.intervals) == ["clustering_accuracy"]
    interval = result.intervals["clustering_accuracy"]
    assert interval.low < result.metrics["clustering_accuracy"] < interval.high
    assert result.protocol["num_clusters"] == 3
    assert result.class_names == CLASSES
    assert result.examples["prediction@seeds"].shape == (45, 3)
    is_right = result.examples["prediction@seeds"] == result.examples["label"][:, None]
    assert result.examples["clustering_accuracy"] == pytest.approx(is_right.mean(axis=1))
    assert is_right.mean() == pytest.approx(result.metrics["clustering_accuracy"])


def test_texts_are_clustered_where_there_are_no_pictures() -> None:
    labels = ["flat"] * 3 + ["steep"] * 3
    result = ClusteringTask(texts=TEXTS, labels=labels, dataset="angles", language="de").evaluate(AngleEmbedder())
    assert result.metrics["v_measure"] == pytest.approx(1.0)
    assert result.metrics["adjusted_rand_index"] == pytest.approx(1.0)
    assert (result.example_name, result.language, result.num_examples) == ("texts", "de", 6)


def test_a_collapsed_model_finds_nothing() -> None:
    result = picture_task().evaluate(CollapsedEmbedder())
    assert result.metrics["v_measure"] == pytest.approx(0.0)
    assert result.metrics["adjusted_rand_index"] == pytest.approx(0.0)
    assert result.metrics["clustering_accuracy"] == pytest.approx(1 / 3)


def test_one_seed_has_no_deviation_and_the_result_is_valid_json() -> None:
    result = picture_task(num_seeds=1).evaluate(ColourEmbedder())
    assert {result.metrics[f"{name}_std"] for name in METRICS} == {None}
    text = result.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert TaskResult.from_json(text) == result


def test_intervals_resample_groups() -> None:
    result = picture_task(groups=[row // 3 for row in range(45)]).evaluate(ColourEmbedder())
    assert result.intervals["clustering_accuracy"].num_units == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": LABELS}, "either pictures or texts"),
        ({"images": None}, "either pictures or texts"),
        ({"images": [], "labels": []}, "clustering needs pictures, got none"),
        ({"labels": ["red"]}, "45 pictures must have as many labels, got 1"),
        ({"labels": [None, *LABELS[1:]]}, "1 of 45 have none, first: 0"),
        ({"labels": ["red"] * 45}, "at least two classes, got one"),
        ({"groups": [1]}, "as many groups, got 1"),
        ({"num_seeds": 0}, "num_seeds must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_clustered_is_refused_at_once(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        picture_task(**changes)
