from __future__ import annotations

import numpy as np
import pytest

from mmcl.vectors.recall import MAX_QUERIES, Recall, draw_queries, measure_recall


def unit_rows(num_rows: int, width: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num_rows, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measured(exact: np.ndarray, stored: np.ndarray, places: np.ndarray, size: int = 1000, **queries: np.ndarray):
    blocks = [(exact[start : start + size], stored[start : start + size]) for start in range(0, len(exact), size)]
    of_stored = queries.get("stored_queries", exact)[places]
    return measure_recall(blocks, (exact[places], of_stored), places, len(exact))


def by_sorting(exact: np.ndarray, stored: np.ndarray, places: np.ndarray, k: int = 10) -> float:
    """An independent reference: sort all cosines of a query, leave out itself, count what both lists share."""
    shares = []
    for place in places:
        lists = []
        for rows in (exact, stored):
            order = np.argsort(-(rows @ exact[place]), kind="stable")
            lists.append({index for index in order.tolist() if index != place and index in order[: k + 1]} - {place})
            lists[-1] = set([index for index in order.tolist() if index != place][:k])
        shares.append(len(lists[0] & lists[1]) / k)
    return float(np.mean(shares))


@pytest.mark.parametrize("size", [7, 64, 1000])
def test_it_is_the_share_of_neighbours_whatever_the_blocks(size: int) -> None:
    exact = unit_rows(200, 6)
    stored = exact + 0.1 * unit_rows(200, 6, seed=1)
    places = draw_queries(200)
    found = measured(exact, stored, places, size)
    assert found == Recall(pytest.approx(by_sorting(exact, stored, places), abs=1e-9), 10, 200, 200)
    assert 0.3 < found.value < 0.95


def test_exact_vectors_lose_nothing() -> None:
    exact = unit_rows(50, 4)
    assert measured(exact, exact, draw_queries(50)).value == 1.0


def test_unrelated_vectors_keep_what_chance_leaves() -> None:
    found = measured(unit_rows(400, 8), unit_rows(400, 8, seed=1), draw_queries(400))
    assert found.value == pytest.approx(10 / 399, abs=0.02)


def test_a_query_is_not_its_own_neighbour() -> None:
    """Three points: each keeps itself as the nearest in any case, and that must not count."""
    exact = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], dtype=np.float32)
    found = measure_recall([(exact, -exact)], (exact, exact), np.arange(4), 4)
    assert found.k == 3
    assert found.value == 1.0, "all others are the three nearest, in whatever order"
    many = np.concatenate([exact, unit_rows(8, 2)])
    reversed_order = measured(many, -many, np.arange(12))
    assert reversed_order.k == 10
    assert reversed_order.value == pytest.approx(9 / 10), "of 11 others the farthest is left out, and the nearest found"


def test_equal_vectors_cost_nothing_whichever_is_found() -> None:
    exact = np.repeat(unit_rows(4, 5), 30, axis=0)
    assert measured(exact, exact[:, :], draw_queries(120), size=11).value == 1.0


def test_queries_are_up_to_a_thousand_and_always_the_same() -> None:
    assert draw_queries(5).tolist() == [0, 1, 2, 3, 4]
    many = draw_queries(5000)
    assert len(many) == len(set(many.tolist())) == MAX_QUERIES == 1000
    assert many.max() < 5000
    assert np.array_equal(many, draw_queries(5000))
    assert (np.diff(many) > 0).all()


def test_one_vector_has_no_neighbours() -> None:
    assert measured(unit_rows(1, 3), unit_rows(1, 3), draw_queries(1)) is None


def test_it_says_how_many_queries() -> None:
    assert str(Recall(0.98765, 10, 1000, 20000)) == "recall@10 0.9877 (1,000 queries among 20,000 vectors)"
