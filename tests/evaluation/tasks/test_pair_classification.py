"""Cosines of pairs that belong together above those of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from evaluation import EvaluationError, PairClassificationTask
from tests.evaluation.fakes import AngleEmbedder, CollapsedEmbedder

ANGLES = [5, 12, 31, 40, 77, 90, 120, 20]
LABELS = [1, 1, 0, 1, 0, 1, 0, 0]


def task_of(**fields: Any) -> PairClassificationTask:
    given = {"first": ["zero 0"] * 8, "second": [f"at {angle}" for angle in ANGLES], "labels": LABELS}
    return PairClassificationTask(**{**given, "dataset": "angles", **fields})


def test_precision_accuracy_and_f1_with_their_thresholds() -> None:
    result = task_of().evaluate(AngleEmbedder())
    cosines = np.cos(np.radians(ANGLES))
    assert result.metrics["cosine_ap"] == pytest.approx(average_precision_score(LABELS, cosines))
    # 5 and 12 above the cut: two of four found, no other; six of eight right.
    assert result.metrics["cosine_accuracy"] == 0.75
    assert result.metrics["cosine_accuracy_threshold"] == pytest.approx((cosines[1] + cosines[7]) / 2, abs=1e-6)
    # All but 120 above it: four of four found, three others.
    assert result.metrics["cosine_f1"] == pytest.approx(8 / 11)
    assert result.headline == ("cosine_ap", "cosine_accuracy", "cosine_f1")
    assert result.chance == pytest.approx({"cosine_ap": 0.5, "cosine_accuracy": 0.5, "cosine_f1": 2 / 3})
    assert result.notes == ()
    for name in result.headline:
        interval = result.intervals[name]
        assert 0 <= interval.low <= result.metrics[name] <= interval.high <= 1
    assert result.unit("cosine_f1_threshold") == "number"


def test_a_collapsed_model_has_the_precision_of_chance_and_no_threshold() -> None:
    result = task_of().evaluate(CollapsedEmbedder())
    assert result.metrics["cosine_ap"] == 0.5
    assert result.metrics["cosine_accuracy"] is None
    assert result.reasons["cosine_f1_threshold"] == "all cosines are equal"
    assert set(result.intervals) == {"cosine_ap"}
    assert result.notes == (
        "8 of 8 pairs have exactly the cosine of a pair of the other label; no threshold tells them apart.",
    )


def test_groups_are_resampled_together() -> None:
    result = task_of(groups=[0, 0, 1, 1, 2, 2, 3, 3]).evaluate(AngleEmbedder())
    assert result.intervals["cosine_ap"].num_units == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": [0, 1, 2, 1, 0, 1, 1, 0]}, "labels must be 0 or 1, got 2"),
        ({"labels": [1] * 8}, "pairs of both labels needed, 0 and 1, got 1 alone"),
        ({"labels": [1]}, "labels must be as many as first, 8, got 1"),
        ({"second": [None] * 8}, "every text must be a text, got None"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        task_of(**fields)
