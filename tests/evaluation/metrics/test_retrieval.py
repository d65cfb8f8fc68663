"""Ranks and recalls against hand-made matrices and a dense reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from evaluation.errors import EvaluationError
from evaluation.metrics import (
    chance_recall_at_k,
    check_partners,
    image_text_ranks,
    rank_best_own,
    rank_best_relevant,
    recall_at_k,
)


def unit_rows(rng: np.random.Generator, num_rows: int, width: int) -> np.ndarray:
    rows = rng.normal(size=(num_rows, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def recall_by_topk(queries: np.ndarray, candidates: np.ndarray, relevant: np.ndarray, k: int) -> float:
    """The dense way of CLIP_benchmark: the whole matrix, topk, one-hot, any hit."""
    scores = torch.from_numpy(queries) @ torch.from_numpy(candidates).T
    top = torch.topk(scores, min(k, len(candidates)), dim=1).indices
    found = torch.from_numpy(relevant).gather(1, top).any(dim=1)
    return float(found.double().mean())


def random_groups(rng: np.random.Generator, num_groups: int, most: int) -> np.ndarray:
    return rng.permutation(np.repeat(np.arange(num_groups), rng.integers(1, most + 1, size=num_groups)))


def test_ranks_of_a_literal_matrix() -> None:
    # With the identity as candidates, a query's coordinates are its scores.
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.3, 0.3]], dtype=np.float32)
    outcome = rank_best_relevant(scores, np.eye(3, dtype=np.float32), [0, 1, 2], [0, 1, 2])
    assert outcome.ranks.tolist() == [1, 2, 2]
    assert outcome.tied.tolist() == [False, False, True]
    assert outcome.num_relevant.tolist() == [1, 1, 1]
    assert [recall_at_k(outcome.ranks, k) for k in (1, 2)] == [pytest.approx(1 / 3), 1.0]


def test_relevant_candidates_do_not_push_each_other_down() -> None:
    scores = np.array([[0.9, 0.9, 0.8, 0.1]], dtype=np.float32)
    outcome = rank_best_relevant(scores, np.eye(4, dtype=np.float32), [7], [7, 7, 7, 1])
    assert (outcome.ranks.tolist(), outcome.tied.tolist(), outcome.num_relevant.tolist()) == ([1], [False], [3])


def test_equal_to_the_dense_reference_over_random_cases() -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        num_groups = int(rng.integers(1, 30))
        image_groups, text_groups = random_groups(rng, num_groups, 4), random_groups(rng, num_groups, 5)
        width = int(rng.integers(2, 40))
        images, texts = unit_rows(rng, len(image_groups), width), unit_rows(rng, len(text_groups), width)
        by_text, by_image = image_text_ranks(
            images, texts, image_groups, text_groups, max_elements=int(rng.integers(1, 200))
        )
        relevant = text_groups[:, None] == image_groups[None, :]
        for k in (1, 5, 10):
            assert recall_at_k(by_text.ranks, k) == recall_by_topk(texts, images, relevant, k)
            assert recall_at_k(by_image.ranks, k) == recall_by_topk(images, texts, relevant.T, k)


def test_several_captions_per_picture_count_as_the_field_counts_them() -> None:
    # Picture 0 has captions 0 and 1, picture 1 has caption 2. Caption 1 lies nearer to picture 1.
    images = np.array([[1, 0], [0, 1]], dtype=np.float32)
    texts = np.array([[1, 0], [0.6, 0.8], [0, 1]], dtype=np.float32)
    by_text, by_image = image_text_ranks(images, texts, [0, 1], [0, 0, 1])
    assert recall_at_k(by_text.ranks, 1) == pytest.approx(2 / 3)  # mean over captions
    assert recall_at_k(by_image.ranks, 1) == 1.0  # at least one caption each


@pytest.mark.parametrize("max_elements", [1, 7, 64, 10_000])
def test_ranks_do_not_depend_on_the_chunks(max_elements: int) -> None:
    rng = np.random.default_rng(3)
    queries, candidates = unit_rows(rng, 31, 6), unit_rows(rng, 17, 6)
    groups = rng.integers(0, 5, size=31), np.concatenate([np.arange(5), rng.integers(0, 5, size=12)])
    whole = rank_best_relevant(queries, candidates, *groups)
    chunked = rank_best_relevant(queries, candidates, *groups, max_elements=max_elements)
    np.testing.assert_array_equal(chunked.ranks, whole.ranks)
    np.testing.assert_array_equal(chunked.num_relevant, whole.num_relevant)


def test_ranks_follow_a_permutation_of_queries_and_candidates() -> None:
    rng = np.random.default_rng(4)
    queries, candidates, groups = unit_rows(rng, 12, 5), unit_rows(rng, 12, 5), np.arange(12)
    rows, columns = rng.permutation(12), rng.permutation(12)
    plain = rank_best_relevant(queries, candidates, groups, groups)
    moved = rank_best_relevant(queries[rows], candidates[columns], groups[rows], groups[columns])
    np.testing.assert_array_equal(moved.ranks, plain.ranks[rows])


def test_names_of_groups_are_as_good_as_numbers() -> None:
    rng = np.random.default_rng(5)
    queries, candidates = unit_rows(rng, 3, 4), unit_rows(rng, 3, 4)
    by_number = rank_best_relevant(queries, candidates, [4, 9, 2], [9, 2, 4])
    by_name = rank_best_relevant(queries, candidates, ["d", "i", "b"], ["i", "b", "d"])
    np.testing.assert_array_equal(by_name.ranks, by_number.ranks)


@pytest.mark.parametrize("num_rows", [2, 17, 400])
def test_a_collapsed_model_finds_nothing_and_every_query_is_tied(num_rows: int) -> None:
    rng = np.random.default_rng(6)
    same = np.repeat(unit_rows(rng, 1, 65), num_rows, axis=0)
    for outcome in image_text_ranks(same, same, np.arange(num_rows), np.arange(num_rows)):
        assert recall_at_k(outcome.ranks, 1) == 0.0
        assert (outcome.ranks == num_rows).all()
        assert outcome.tied.all()


def test_k_beyond_the_candidates_is_their_number() -> None:
    ranks = np.array([1, 3, 3])
    assert recall_at_k(ranks, 10) == recall_at_k(ranks, 3) == 1.0
    assert chance_recall_at_k(np.array([1, 1, 1]), 3, k=10) == 1.0


def test_chance_is_what_random_order_reaches() -> None:
    # Of 4 candidates with 2 relevant, a first place is right in 1/2, and 2 drawn are both wrong in 1/6 of cases.
    assert chance_recall_at_k(np.array([2]), 4, 1) == pytest.approx(1 / 2)
    assert chance_recall_at_k(np.array([2]), 4, 2) == pytest.approx(5 / 6)
    assert chance_recall_at_k(np.array([2, 1]), 4, 2) == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert chance_recall_at_k(np.array([3]), 4, 2) == 1.0


def test_a_picture_or_caption_alone_is_an_error_not_a_miss() -> None:
    two = np.eye(2, dtype=np.float32)
    with pytest.raises(EvaluationError, match=r"every image must have at least one caption.*1 of 2.*first: image 1"):
        image_text_ranks(two, two, [0, 1], [0, 0])
    with pytest.raises(EvaluationError, match=r"every caption must have at least one image.*first: caption 0"):
        check_partners([1, 1], [0, 1])
    with pytest.raises(EvaluationError, match=r"1 of 2 queries have no relevant candidate, first: 1"):
        rank_best_relevant(two, two, [0, 1], [0, 0])


@pytest.mark.parametrize(
    ("num_images", "groups", "message"),
    [(0, [], "at least one row of images"), (2, [0], "one group id each"), (2, ["a", "b"], "of one kind")],
)
def test_rows_that_do_not_fit_are_refused(num_images: int, groups: list[object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        image_text_ranks(np.ones((num_images, 2)), np.ones((2, 2)), groups, [0, 1])


def test_recall_of_nothing_and_of_no_k_is_refused() -> None:
    with pytest.raises(EvaluationError, match="at least one query"):
        recall_at_k(np.array([], dtype=np.int64), 1)
    with pytest.raises(EvaluationError, match="k must be >= 1, got 0"):
        recall_at_k(np.array([1]), 0)


def test_ranks_of_own_candidates_equal_the_dense_reference() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        queries, candidates = unit_rows(rng, 30, 8), unit_rows(rng, 40, 8)
        own = rng.random((30, 40)) < 0.1
        own[np.arange(30), rng.integers(0, 40, 30)] = True
        outcome = rank_best_own(queries, candidates, csr_matrix(own), max_elements=int(rng.integers(1, 300)))
        for k in (1, 5, 10):
            # Own candidates do not push each other down, so that it is the top k among the best one and the rivals.
            assert recall_at_k(outcome.ranks, k) == recall_by_topk(queries, candidates, own, k)
        assert outcome.num_relevant.tolist() == own.sum(axis=1).tolist()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([[1, 0], [0, 0]], "1 of 2 queries have no candidate of their own: 1"),
        ([[1, 0]], "own must be 2 x 2, got 1 x 2"),
    ],
)
def test_a_query_without_a_candidate_of_its_own_is_refused(own: list[list[int]], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        rank_best_own(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), csr_matrix(np.array(own)))
