"""Average precision and precision at R by label, on literal scores."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from evaluation import EvaluationError
from evaluation.metrics.label_retrieval import chance_average_precision, rank_by_label


def plane(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def test_precision_is_that_of_the_places_of_relevant_candidates() -> None:
    # By angle from 0: relevant at places 1, 3 and 4 of 5.
    found = rank_by_label(plane(0), plane(10, 20, 30, 40, 50), np.array([7]), np.array([7, 1, 7, 7, 1]))
    assert found.ranks.tolist() == [1]
    np.testing.assert_allclose(found.average_precision, [(1 + 2 / 3 + 3 / 4) / 3])
    np.testing.assert_allclose(found.map_at_r, [(1 + 0 + 2 / 3) / 3])
    assert (found.num_relevant.tolist(), found.num_candidates, found.tied.tolist()) == ([3], 5, [False])


def test_left_out_is_the_query_itself_alone() -> None:
    rows, labels = plane(0, 10, 90, 100), np.array([0, 1, 0, 1])
    found = rank_by_label(rows, rows, labels, labels, np.arange(4))
    # 0 sees 10, 90, 100; 10 sees 0, 90, 100; 90 sees 100, 10, 0; 100 sees 90, 10, 0.
    assert found.ranks.tolist() == [2, 3, 3, 2]
    np.testing.assert_allclose(found.average_precision, [1 / 2, 1 / 3, 1 / 3, 1 / 2])
    assert (found.map_at_r == 0).all()
    assert found.num_candidates == 3


def test_rivals_that_tie_come_first() -> None:
    rows, labels = np.ones((6, 2), dtype=np.float32), np.array([0, 0, 1, 1, 1, 1])
    found = rank_by_label(rows, rows, labels, labels, np.arange(6))
    assert found.ranks.tolist() == [5, 5, 3, 3, 3, 3]
    np.testing.assert_allclose(found.map_at_r, [0, 0, *[1 / 3 / 3] * 4])  # the two rivals leave the third place
    assert found.tied.all()


def test_average_precision_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    queries, candidates = rng.normal(size=(40, 8)), rng.normal(size=(60, 8))
    labels, offered = rng.integers(0, 5, 40), rng.integers(0, 5, 60)
    found = rank_by_label(queries, candidates, labels, offered, max_elements=130)
    expected = [
        average_precision_score(offered == label, candidates @ query)
        for query, label in zip(queries, labels, strict=True)
    ]
    np.testing.assert_allclose(found.average_precision, expected)


def test_chance_is_what_random_order_reaches() -> None:
    rng = np.random.default_rng(0)
    labels, offered = np.zeros(20_000, dtype=np.int64), np.array([0] * 3 + [1] * 7)
    scores = np.argsort(rng.random((20_000, 10)), axis=1).astype(np.float32)
    found = rank_by_label(scores, np.eye(10, dtype=np.float32), labels, offered)
    assert chance_average_precision(found.num_relevant, 10) == pytest.approx(found.average_precision.mean(), abs=5e-3)
    at_r = chance_average_precision(found.num_relevant, 10, found.num_relevant)
    assert at_r == pytest.approx(found.map_at_r.mean(), abs=5e-3)


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(EvaluationError, match="1 of 2 queries have no relevant candidate, first: 1"):
        rank_by_label(plane(0, 1), plane(2, 3), np.array([0, 1]), np.array([0, 0]))
    with pytest.raises(EvaluationError, match="2 of 2 queries have no relevant candidate"):
        rank_by_label(plane(0, 1), plane(0, 1), np.array([0, 1]), np.array([0, 1]), np.arange(2))
    with pytest.raises(EvaluationError, match="one label per candidate needed"):
        rank_by_label(plane(0), plane(2, 3), np.array([0]), np.array([0]))
