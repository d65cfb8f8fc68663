"""The linear probe task from pictures to a result."""

from __future__ import annotations

import pytest

from evaluation import EvaluationError, LinearProbeTask
from evaluation.metrics import linear_probe
from tests.evaluation.fakes import ColourEmbedder
from tests.evaluation.tasks.labelled import NoisyPictures, indices, labelled_rows


def test_numbers_are_those_of_the_embeddings_and_the_choice_is_kept() -> None:
    rows, embedder = labelled_rows(), ColourEmbedder()
    train, test = embedder.encode_images(rows["train_images"]), embedder.encode_images(rows["images"])
    expected = linear_probe(train, indices(rows["train_labels"]), test, 3, c_grid=(0.1, 10.0), seed=4)
    result = LinearProbeTask(**rows, c_grid=(0.1, 10.0), seed=4).evaluate(embedder)
    assert result.examples["prediction"].tolist() == expected.predictions.tolist()
    assert result.protocol["chosen"]["c"] == expected.c
    assert result.protocol["c_grid"] == [0.1, 10.0]
    assert list(result.protocol["chosen"]["validation_accuracy"]) == ["0.1", "10"]
    assert list(result.protocol["chosen"]["validation_accuracy"].values()) == list(
        expected.validation_accuracy.values()
    )


def test_a_choice_at_the_end_of_the_grid_and_a_fit_that_did_not_converge_are_told() -> None:
    # Where the classes differ in size, a strong decay names the largest for everything.
    labels = ["red"] * 40 + ["green"] * 10 + ["purple"] * 10
    rows = labelled_rows(train_images=NoisyPictures(labels, seed=0), train_labels=labels)
    at_end = LinearProbeTask(**rows, c_grid=(1e-4, 1.0)).evaluate(ColourEmbedder())
    assert at_end.protocol["chosen"]["c"] == 1.0
    assert "smallest offered (C = 1): a wider grid may do better" in at_end.notes[0]
    assert LinearProbeTask(**rows, c_grid=(1.0,)).evaluate(ColourEmbedder()).notes == ()
    hurried = LinearProbeTask(**rows, c_grid=(1e5,), max_iterations=1).evaluate(ColourEmbedder())
    assert hurried.notes == ("The probe had not converged after 1 iterations.",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c_grid": ()}, "C must be one or more values > 0"),
        ({"c_grid": (0.0, 1.0)}, "C must be one or more values > 0"),
        ({"validation_fraction": 0.0}, "must lie between 0 and 1, got 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        LinearProbeTask(**labelled_rows(**changes))
