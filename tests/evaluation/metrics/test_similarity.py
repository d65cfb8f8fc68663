"""Scores are exact, whole, and equal for equal embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.metrics import paired_cosines, similarity
from evaluation.metrics.similarity import similarity_strips


def unit_rows(rng: np.random.Generator, num_rows: int, width: int) -> np.ndarray:
    rows = rng.normal(size=(num_rows, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_scores_are_the_rounded_exact_products() -> None:
    rng = np.random.default_rng(0)
    queries, candidates = unit_rows(rng, 7, 33), unit_rows(rng, 11, 33)
    exact = queries.astype(np.longdouble) @ candidates.astype(np.longdouble).T
    np.testing.assert_array_equal(similarity(queries, candidates), exact.astype(np.float32))


def test_strips_cover_every_row_once_and_stay_within_the_budget() -> None:
    rng = np.random.default_rng(1)
    queries, candidates = unit_rows(rng, 13, 8), unit_rows(rng, 5, 8)
    strips = list(similarity_strips(queries, candidates, max_elements=20))
    assert [scores.shape for _, scores in strips] == [(4, 5), (4, 5), (4, 5), (1, 5)]
    np.testing.assert_array_equal(np.concatenate([scores for _, scores in strips]), similarity(queries, candidates))


def test_equal_candidates_score_equal_wherever_they_stand() -> None:
    rng = np.random.default_rng(2)
    candidates = np.repeat(unit_rows(rng, 1, 513), 9001, axis=0)  # beyond one block of candidates
    for num_queries in (1, 3, 16):
        assert (np.ptp(similarity(unit_rows(rng, num_queries, 513), candidates), axis=1) == 0).all()


@pytest.mark.parametrize(
    ("queries", "candidates", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "one space, got 3 and 4"),
        (np.ones(3), np.ones((2, 3)), "one embedding per row"),
        (np.array([[1.0, 0.0], [np.nan, 0.0]]), np.ones((2, 2)), "row 1"),
    ],
)
def test_what_does_not_fit_is_refused(queries: np.ndarray, candidates: np.ndarray, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        list(similarity_strips(queries, candidates))


def test_pairs_are_compared_row_by_row_whatever_their_norm() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 9, 5))
    expected = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(paired_cosines(first, second), expected, rtol=1e-6)
    assert paired_cosines(first, 3 * first).tolist() == [1] * 9
    with pytest.raises(EvaluationError, match="as many rows on both sides"):
        paired_cosines(first, second[:4])
