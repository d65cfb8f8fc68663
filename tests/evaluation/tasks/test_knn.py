"""The kNN task from pictures to a result."""

from __future__ import annotations

import pytest
from sklearn.neighbors import KNeighborsClassifier

from evaluation import EvaluationError, KNNTask
from evaluation.metrics import knn_predictions
from tests.evaluation.fakes import ColourEmbedder
from tests.evaluation.tasks.labelled import indices, labelled_rows


def test_numbers_are_those_of_the_embeddings() -> None:
    rows, embedder = labelled_rows(), ColourEmbedder()
    train, test = embedder.encode_images(rows["train_images"]), embedder.encode_images(rows["images"])
    for k, temperature in ((60, 10.0), (60, 0.07), (5, 0.07)):
        expected = knn_predictions(train, indices(rows["train_labels"]), test, 3, k=k, temperature=temperature)
        found = KNNTask(**rows, k=k, temperature=temperature).evaluate(embedder).examples["prediction"]
        assert found.tolist() == expected.tolist()
    assert (
        expected.tolist()
        != knn_predictions(train, indices(rows["train_labels"]), test, 3, k=60, temperature=10.0).tolist()
    )
    nearest = KNeighborsClassifier(1, metric="cosine").fit(train, rows["train_labels"])
    alone = KNNTask(**rows, k=1).evaluate(embedder)
    assert alone.metrics["acc1"] == pytest.approx(nearest.score(test, rows["labels"]))


def test_the_protocol_is_kept_with_k_as_it_was_clamped() -> None:
    protocol = KNNTask(**labelled_rows(num_train=12)).evaluate(ColourEmbedder()).protocol
    assert protocol == {
        "num_train_examples": 12,
        "k": 12,
        "similarity": "cosine",
        "weights": "exp(cos / temperature)",
        "temperature": 0.07,
    }


@pytest.mark.parametrize("changes", [{"k": 0}, {"temperature": 0.0}])
def test_votes_that_make_no_sense_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(EvaluationError, match="k must be >= 1 and temperature > 0"):
        KNNTask(**labelled_rows(**changes))
