"""Anchors nearer to their positives than to their negatives."""

from __future__ import annotations

from typing import Any

import pytest

from evaluation import EvaluationError, TripletAccuracyTask
from tests.evaluation.fakes import AngleEmbedder, CollapsedEmbedder


def task_of(**fields: Any) -> TripletAccuracyTask:
    given: dict[str, Any] = {
        "anchors": ["a 0", "b 90", "c 10", "d 45"],
        "positives": ["p 5", "p 80", "p 70", "p 0"],
        "negatives": ["n 40", "n 300", "n 20", "n 90"],
        "dataset": "angles",
    }
    return TripletAccuracyTask(**{**given, **fields})


def test_the_positive_has_to_be_strictly_nearer() -> None:
    result = task_of(positives=["p 5", "p 80", "p 70", "n 90"]).evaluate(AngleEmbedder())
    assert result.metrics == {"cosine_accuracy": 0.5, "ties": 1}
    assert result.examples["cosine_accuracy"].tolist() == [1, 1, 0, 0]
    assert result.notes == ("In 1 of 4 triplets both were exactly as near; those count as missed.",)
    assert (result.num_examples, result.example_name, result.chance["cosine_accuracy"]) == (4, "triplets", 0.5)


def test_a_collapsed_model_has_none_right() -> None:
    assert task_of().evaluate(CollapsedEmbedder()).metrics == {"cosine_accuracy": 0, "ties": 4}


def test_triplets_of_one_anchor_are_resampled_together() -> None:
    assert task_of(groups=[0, 0, 1, 1]).evaluate(AngleEmbedder()).intervals["cosine_accuracy"].num_units == 2


def test_rows_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(EvaluationError, match="negatives must be as many as anchors, 4, got 1"):
        task_of(negatives=["n 1"])
    with pytest.raises(EvaluationError, match="every positive must be a text, got '' for positive 0"):
        task_of(positives=["", "p 1", "p 2", "p 3"])
