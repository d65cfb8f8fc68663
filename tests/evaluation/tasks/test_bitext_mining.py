"""Sentences that find their translations by the angle between them."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.metrics import f1_score

from evaluation import BitextMiningTask, EvaluationError
from tests.evaluation.fakes import AngleEmbedder, CollapsedEmbedder

FIRST = ["eins 0", "zwei 40", "drei 80", "vier 120"]
SECOND = ["one 2", "two 75", "three 83", "four 118"]


def task_of(**fields: Any) -> BitextMiningTask:
    return BitextMiningTask(**{"first": FIRST, "second": SECOND, "dataset": "numbers", **fields})


def test_both_directions_are_counted_by_hand() -> None:
    """40 is nearer to 75 than to any other, so that all four are found; 75 is nearer to 80 than to 40."""
    result = task_of().evaluate(AngleEmbedder())
    assert (result.metrics["accuracy"], result.metrics["f1"]) == (1, 1)
    assert result.metrics["reverse_accuracy"] == 0.75
    expected = f1_score([0, 1, 2, 3], [0, 2, 2, 3], average="weighted")
    assert result.metrics["reverse_f1"] == pytest.approx(expected)
    assert result.headline == ("f1", "accuracy", "reverse_f1", "reverse_accuracy")
    assert result.examples["reverse_accuracy"].tolist() == [1, 0, 1, 1]
    assert result.chance == {"accuracy": 0.25, "reverse_accuracy": 0.25}
    assert result.intervals["reverse_f1"].low < expected < result.intervals["reverse_f1"].high
    assert result.notes == ()


def test_a_sentence_does_not_have_to_beat_its_own_copy() -> None:
    result = task_of(first=[*FIRST, "noch vier 121"], second=[*SECOND, "four 118"]).evaluate(AngleEmbedder())
    assert result.metrics["accuracy"] == 1
    assert result.metrics["ties"] == 0
    assert result.num_examples == 5
    assert result.chance["accuracy"] == 0.25


def test_a_collapsed_model_finds_nothing_and_the_ties_are_said() -> None:
    result = task_of().evaluate(CollapsedEmbedder())
    assert result.metrics["accuracy"] == result.metrics["f1"] == result.metrics["reverse_f1"] == 0
    assert result.metrics["ties"] == result.metrics["reverse_ties"] == 4
    assert result.notes[0] == (
        "From the first to the second: for 4 of 4 sentences a wrong one scored exactly as high as the translation; "
        "it counts as ahead."
    )


def test_examples_show_what_was_found() -> None:
    examples = task_of(first=["eins 76", *FIRST[1:]]).evaluate(AngleEmbedder()).exhibits.text_answers
    assert {one.query.text: one.rank for one in examples} == {"eins 76": 4, "zwei 40": 1, "drei 80": 1, "vier 120": 1}
    missed = next(one for one in examples if one.query.text == "eins 76")
    assert missed.wanted.item.text == "one 2"
    assert missed.candidates[0].item.text == "two 75"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"second": SECOND[:3]}, "second must be as many as first, 4, got 3"),
        ({"second": ["one 2"] * 4}, "second needs two different sentences to choose from, got one"),
        ({"first": ["", *FIRST[1:]]}, "every sentence must be a text"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        task_of(**fields)
