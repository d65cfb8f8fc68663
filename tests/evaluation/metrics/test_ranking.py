"""Ranking metrics against trec_eval where it is installed, and a plain one on sorted lists."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import EvaluationError
from evaluation.metrics import map_at_k, mrr_at_k, ndcg_at_k, rank_grades, relevant_recall_at_k, similarity

METRICS = (ndcg_at_k, mrr_at_k, map_at_k, relevant_recall_at_k)


def vectors(num_rows: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num_rows, 6))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def relevance_of(num_queries: int, num_candidates: int, seed: int) -> list[dict[int, float]]:
    rng = np.random.default_rng(seed)
    return [
        {
            int(row): float(grade)
            for row, grade in zip(
                rng.permutation(num_candidates)[:7], [1 + rng.integers(3), *rng.integers(-1, 4, size=6)], strict=True
            )
        }
        for _ in range(num_queries)
    ]


def trec(grades: list[float], all_grades: list[float], k: int) -> tuple[float, ...]:
    """The four metrics of one query, from the grades of its candidates in order and all that it has."""
    gain = sum(grade / np.log2(rank + 1) for rank, grade in enumerate(grades[:k], 1) if grade > 0)
    best = sorted((grade for grade in all_grades if grade > 0), reverse=True)
    ideal = sum(grade / np.log2(rank + 1) for rank, grade in enumerate(best[:k], 1))
    hits = [rank for rank, grade in enumerate(grades[:k], 1) if grade > 0]
    precisions = [number / rank for number, rank in enumerate(hits, 1)]
    return gain / ideal, 1 / hits[0] if hits else 0.0, sum(precisions) / len(best), len(hits) / len(best)


@pytest.mark.parametrize("k", [1, 5, 10, 40])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_sorted_lists(k: int, seed: int) -> None:
    queries, candidates, relevance = vectors(12, seed), vectors(30, seed + 100), relevance_of(12, 30, seed)
    found = rank_grades(queries, candidates, relevance, k)
    for row, known in enumerate(relevance):
        order = np.argsort(-(candidates @ queries[row]))
        expected = trec([known.get(int(one), 0.0) for one in order], list(known.values()), k)
        assert [metric(found, k)[row] for metric in METRICS] == pytest.approx(expected, abs=1e-9)
        assert found.candidates[row].tolist() == order[:k].tolist()
    assert not found.tied.any()


def test_metrics_are_trec_evals_over_random_cases() -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(0)
    for seed in range(200):
        num_candidates, k = int(rng.integers(8, 40)), int(rng.integers(1, 12))
        queries, candidates = vectors(3, seed), vectors(num_candidates, seed + 1000)
        relevance = [
            {row: max(grade, 0.0) for row, grade in one.items()} for one in relevance_of(3, num_candidates, seed)
        ]
        scores = similarity(queries, candidates).astype(float)
        run = {
            f"q{row}": {f"d{one}": score for one, score in enumerate(own)} for row, own in enumerate(scores.tolist())
        }
        grades = {f"q{row}": {f"d{one}": int(grade) for one, grade in own.items()} for row, own in enumerate(relevance)}
        measures = {f"{name}.{k}" for name in ("ndcg_cut", "map_cut", "recall")}
        theirs = pytrec_eval.RelevanceEvaluator(grades, measures).evaluate(run)
        found = rank_grades(queries, candidates, relevance, k)
        for name, metric in (("ndcg_cut", ndcg_at_k), ("map_cut", map_at_k), ("recall", relevant_recall_at_k)):
            expected = [theirs[f"q{row}"][f"{name}_{k}"] for row in range(3)]
            np.testing.assert_allclose(metric(found, k), expected, rtol=1e-12, err_msg=name)


def test_a_smaller_k_can_be_read_off_a_deeper_list() -> None:
    queries, candidates, relevance = vectors(12, 0), vectors(30, 1), relevance_of(12, 30, 2)
    deep = rank_grades(queries, candidates, relevance, 10)
    for metric in METRICS:
        assert metric(deep, 5).tolist() == metric(rank_grades(queries, candidates, relevance, 5), 5).tolist()


def test_the_result_does_not_depend_on_the_strips() -> None:
    queries, candidates, relevance = vectors(12, 0), vectors(30, 1), relevance_of(12, 30, 2)
    whole, parts = (rank_grades(queries, candidates, relevance, 10, max_elements=size) for size in (2**20, 35))
    for name in vars(whole):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name


def test_of_equal_scores_the_least_relevant_come_first_and_are_counted() -> None:
    query, others = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    found = rank_grades(query, others, [{1: 2.0, 3: 1.0}], 2)
    assert found.candidates.tolist() == [[2, 3]]  # grades 0 and 1; 2 has not made it into the first two
    assert found.tied.tolist() == [True]
    assert mrr_at_k(found, 2)[0] == 0.5
    assert ndcg_at_k(found, 1)[0] == 0
    # Equal scores of equal grade decide nothing.
    assert rank_grades(query, others, [{1: 1.0, 2: 1.0, 3: 1.0}], 2).tied.tolist() == [False]


def test_a_query_without_a_relevant_candidate_is_an_error() -> None:
    rows = vectors(3, 0)
    with pytest.raises(EvaluationError, match="1 of 3 queries have no relevant candidate, first: 1"):
        rank_grades(rows, rows, [{0: 1.0}, {1: 0.0}, {2: 1.0}], 2)
    with pytest.raises(EvaluationError, match="ranking needs queries"):
        rank_grades(rows, rows[:0], [{}] * 3, 2)
