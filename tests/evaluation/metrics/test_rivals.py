"""Counts from float32 blocks are those of the exact scores, to the last tie."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.metrics import image_text_ranks, similarity
from evaluation.metrics import rivals as rivals_module
from evaluation.metrics.rivals import Own, Rivals, count_rivals


def unit_rows(rng: np.random.Generator, num_rows: int, width: int) -> np.ndarray:
    rows = rng.normal(size=(num_rows, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_the_whole_matrix(scores: np.ndarray, own: np.ndarray) -> Rivals:
    """The definition."""
    best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
    return Rivals(((scores > best) & ~own).sum(axis=1), ((scores == best) & ~own).sum(axis=1))


def assert_equal_to_the_whole_matrix(
    queries: np.ndarray, candidates: np.ndarray, groups: tuple[np.ndarray, np.ndarray], max_elements: int
) -> None:
    scores, own = similarity(queries, candidates), groups[0][:, None] == groups[1][None, :]
    found = count_rivals(queries, candidates, Own.by_group(*groups), max_elements=max_elements)
    for rivals, expected in zip(
        found, (by_the_whole_matrix(scores, own), by_the_whole_matrix(scores.T, own.T)), strict=True
    ):
        np.testing.assert_array_equal(rivals.num_above, expected.num_above)
        np.testing.assert_array_equal(rivals.num_equal, expected.num_equal)


def groups_of(rng: np.random.Generator, num_rows: int, num_groups: int) -> np.ndarray:
    return rng.permutation(np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, num_rows - num_groups)]))


def near_equals(rng: np.random.Generator, num_rows: int, width: int) -> np.ndarray:
    """Rows that differ in the last bit of a few numbers: float32 products cannot tell them apart."""
    rows = np.repeat(unit_rows(rng, 1, width), num_rows, axis=0)
    places = rng.integers(0, width, size=num_rows)
    rows[np.arange(num_rows), places] = np.nextafter(rows[np.arange(num_rows), places], np.float32(2))
    return rows


KINDS = {
    "random": unit_rows,
    "last bits": near_equals,
    "of any norm": lambda rng, num, width: unit_rows(rng, num, width) * rng.lognormal(0, 2, (num, 1)).astype("f4"),
    "float64": lambda rng, num, width: rng.normal(size=(num, width)),
    "that underflow": lambda rng, num, width: unit_rows(rng, num, width) * np.float32(1e-22),
    "small integers": lambda rng, num, width: rng.integers(-1, 2, (num, width)).astype(np.float32),
    "few that differ": lambda rng, num, width: unit_rows(rng, 3, width)[rng.integers(0, 3, num)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_the_whole_matrix_in_both_directions(kind: str) -> None:
    rng = np.random.default_rng(list(KINDS).index(kind))
    for _ in range(20):
        num_groups = int(rng.integers(1, 40))
        rows, columns = num_groups + rng.integers(0, 90, size=2)
        width = int(rng.choice([1, 7, 64, 300]))
        groups = groups_of(rng, rows, num_groups), groups_of(rng, columns, num_groups)
        vectors = KINDS[kind](rng, rows + columns, width)
        budget = int(rng.choice([1, 100, 3000, 2**24]))
        assert_equal_to_the_whole_matrix(vectors[:rows], vectors[rows:], groups, budget)


def test_counts_are_those_of_the_whole_matrix_across_tiles_of_full_size() -> None:
    rng = np.random.default_rng(1)
    groups = groups_of(rng, 1500, 900), groups_of(rng, 2300, 900)
    rows = unit_rows(rng, 900, 24)
    queries, candidates = (rows[of] + 0.4 * unit_rows(rng, len(of), 24) for of in groups)
    assert_equal_to_the_whole_matrix(queries, candidates, groups, 2**24)


def test_a_query_may_have_more_rivals_than_are_compared_at_a_time() -> None:
    # With the identity as candidates, a query's coordinates are its scores: only the last query is the second one's.
    queries = np.repeat(np.array([[0.5, 0.9]], dtype=np.float32), 700, axis=0)
    queries[-1] = 0.1, 0.2
    own = Own.by_group(np.array([0] * 699 + [1]), np.array([0, 1]))
    of_queries, of_candidates = count_rivals(queries, np.eye(2, dtype=np.float32), own)
    assert of_candidates.num_above.tolist() == [0, 699]
    assert of_queries.num_above.tolist() == [1] * 699 + [0]


def test_scores_of_a_collapsed_model_are_settled_by_whole_products(monkeypatch: pytest.MonkeyPatch) -> None:
    same, ids = np.repeat(unit_rows(np.random.default_rng(2), 1, 32), 3000, axis=0), np.arange(3000)
    settled: list[int] = []

    def counted(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        settled.append(len(queries) * len(candidates))
        return similarity(queries, candidates)

    monkeypatch.setattr(rivals_module, "similarity", counted)
    for outcome in image_text_ranks(same, same, ids, ids):
        assert (outcome.ranks == 3000).all()
        assert outcome.tied.all()
    assert sum(settled) == 2 * 3000**2  # in each direction


def test_memory_is_that_of_a_block_not_of_the_matrix() -> None:
    rng, num_rows = np.random.default_rng(3), 6000
    images, texts, ids = unit_rows(rng, num_rows, 32), unit_rows(rng, num_rows, 32), np.arange(num_rows)
    tracemalloc.start()
    try:
        image_text_ranks(images, texts, ids, ids)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40 * 2**20 < 4 * num_rows**2 / 3


def test_every_block_is_multiplied_once_for_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, blocks = np.random.default_rng(4), []
    product = rivals_module._Matrix.product

    def counted(self, rows, columns):  # type: ignore[no-untyped-def]
        blocks.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return product(self, rows, columns)

    monkeypatch.setattr(rivals_module._Matrix, "product", counted)
    image_text_ranks(unit_rows(rng, 90, 8), unit_rows(rng, 70, 8), np.arange(90) % 70, np.arange(70), max_elements=999)
    assert sum(blocks) == 90 * 70
    assert max(blocks) <= 999


def test_embeddings_that_overflow_float32_are_refused() -> None:
    with pytest.raises(EvaluationError, match="dot products overflow float32"):
        count_rivals(np.full((2, 2), 1e20), np.full((2, 2), 1e20), Own.by_group(np.arange(2), np.arange(2)))
