"""The few-label task from pictures to a result."""

from __future__ import annotations

import statistics

import pytest

from evaluation import EvaluationError, FewLabelTask
from evaluation.metrics import few_label_predictions
from tests.evaluation.fakes import ColourEmbedder
from tests.evaluation.tasks.labelled import NoisyPictures, indices, labelled_rows


def test_mean_and_standard_deviation_over_five_seeds() -> None:
    rows, embedder = labelled_rows(), ColourEmbedder()
    train, test = embedder.encode_images(rows["train_images"]), embedder.encode_images(rows["images"])
    result = FewLabelTask(**rows).evaluate(embedder)
    assert result.headline == ("acc1@1_labels", "acc1@2_labels", "acc1@5_labels", "acc1@10_labels")
    for count in (1, 2, 5, 10):
        found = few_label_predictions(train, indices(rows["train_labels"]), test, 3, labels_per_class=count)
        accuracies = (found == indices(rows["labels"])).mean(axis=1).tolist()
        assert len(accuracies) == 5
        assert result.metrics[f"acc1@{count}_labels"] == pytest.approx(statistics.mean(accuracies))
        assert result.metrics[f"acc1@{count}_labels_std"] == pytest.approx(statistics.stdev(accuracies))
        assert result.examples[f"prediction@{count}_labels"].tolist() == found.T.tolist()


def test_a_class_with_fewer_pictures_makes_the_number_null_with_the_reason() -> None:
    labels = ["red"] * 10 + ["green"] * 4 + ["purple"] * 10
    rows = labelled_rows(train_images=NoisyPictures(labels, seed=0), train_labels=labels)
    result = FewLabelTask(**rows, labels_per_class=(4, 5)).evaluate(ColourEmbedder())
    assert result.headline == ("acc1@4_labels",)
    assert result.metrics["acc1@5_labels"] is None
    reason = 'class "green" has 4 of the 5 training pictures needed'
    assert result.reasons == {"acc1@5_labels": reason, "acc1@5_labels_std": reason}
    assert set(result.intervals) == {"acc1@4_labels"}
    none = FewLabelTask(**rows, labels_per_class=(9,)).evaluate(ColourEmbedder())
    assert none.headline == ()
    assert none.intervals == {}


def test_one_seed_has_no_standard_deviation() -> None:
    result = FewLabelTask(**labelled_rows(), labels_per_class=(2,), num_seeds=1).evaluate(ColourEmbedder())
    assert result.metrics["acc1@2_labels_std"] is None
    assert result.reasons == {"acc1@2_labels_std": "one draw has no standard deviation"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels_per_class": ()}, "one or more numbers >= 1"),
        ({"labels_per_class": (0, 5)}, "one or more numbers >= 1"),
        ({"num_seeds": 0}, "num_seeds must be >= 1"),
        ({"c": 0.0}, "c > 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        FewLabelTask(**labelled_rows(**changes))
