"""Retrieval by group: image i and text j are relevant to each other when their group ids are equal.

So several captions of one picture and several pictures of one caption are the same case.

Ties. The rank of a query is strict: 1 + the number of candidates outside its group that score at least as high as its
best relevant candidate. A relevant candidate must beat the others to be found, not draw with them; a collapsed model,
whose scores are all equal, therefore comes out last instead of at 100%. Relevant candidates never push each other down.
Queries in which a candidate outside the group scores exactly the same are counted (`QueryRanks.tied`) and reported.
Where there are no ties, the numbers are those of a top-k over the whole matrix, as CLIP_benchmark has them.

The strict protocol takes less for a hit than the group: `rank_best_own` is told which candidates are a query's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.rivals import Own, Rivals, count_rivals
from evaluation.metrics.similarity import MAX_ELEMENTS


@dataclass(frozen=True)
class QueryRanks:
    """Where each query's best relevant candidate came.

    Attributes:
        ranks: ``(Q,)`` int64 from 1 (found first), strict as the module's docstring says.
        tied: ``(Q,)`` bool; a candidate outside the group scored exactly as high as the best relevant one.
        num_relevant: ``(Q,)`` int64, at least 1.
        num_candidates: how many candidates each query had.
    """

    ranks: NDArray[np.int64]
    tied: NDArray[np.bool_]
    num_relevant: NDArray[np.int64]
    num_candidates: int


def rank_best_relevant(
    queries: NDArray[np.floating],
    candidates: NDArray[np.floating],
    query_groups: ArrayLike,
    candidate_groups: ArrayLike,
    *,
    max_elements: int = MAX_ELEMENTS,
) -> QueryRanks:
    """Rank the best relevant candidate of every query by dot product.

    Args:
        queries: ``(Q, D)`` float embeddings, of unit norm for cosine similarity.
        candidates: ``(M, D)`` float embeddings.
        query_groups: ``(Q,)`` integers or strings.
        candidate_groups: ``(M,)`` of the same kind.
        max_elements: scores held at once; the result does not depend on it.

    Raises:
        EvaluationError: a query without any relevant candidate, nothing to rank, or arrays that do not fit.
    """
    wanted, offered = _as_codes(queries, candidates, query_groups, candidate_groups)
    lonely = np.flatnonzero(~np.isin(wanted, offered))
    if len(lonely):
        raise EvaluationError(f"{len(lonely)} of {len(wanted)} queries have no relevant candidate, first: {lonely[0]}")
    own = Own.by_group(wanted, offered)
    return _ranks(count_rivals(queries, candidates, own, max_elements=max_elements)[0], own.counts(), len(offered))


def rank_best_own(
    queries: NDArray[np.floating], candidates: NDArray[np.floating], own: Any, *, max_elements: int = MAX_ELEMENTS
) -> QueryRanks:
    """Rank the best candidate of each query's own by dot product; all others are rivals, those of its group too.

    Args:
        queries: ``(Q, D)`` float embeddings, of unit norm for cosine similarity.
        candidates: ``(M, D)`` float embeddings.
        own: ``(Q, M)`` scipy sparse matrix in CSR form, true where a candidate is the query's own; one at least in
            every row.
        max_elements: scores held at once; the result does not depend on it.

    Raises:
        EvaluationError: a query without a candidate of its own, or arrays that do not fit.
    """
    if own.shape != (len(queries), len(candidates)):
        raise EvaluationError(f"own must be {len(queries)} x {len(candidates)}, got {own.shape[0]} x {own.shape[1]}")
    lonely = np.flatnonzero(np.diff(own.indptr) == 0)
    if len(lonely):
        raise EvaluationError(f"{len(lonely)} of {len(queries)} queries have no candidate of their own: {lonely[0]}")
    starts, indices = (part.astype(np.int64) for part in (own.indptr, own.sorted_indices().indices))
    lists = Own(np.arange(len(queries)), starts, indices, len(candidates))
    rivals, _ = count_rivals(queries, candidates, lists, max_elements=max_elements)
    return _ranks(rivals, lists.counts(), len(candidates))


def _ranks(rivals: Rivals, num_relevant: NDArray[np.int64], num_candidates: int) -> QueryRanks:
    ranks = 1 + rivals.num_above + rivals.num_equal
    return QueryRanks(ranks, rivals.num_equal > 0, num_relevant, num_candidates)


def image_text_ranks(
    images: NDArray[np.floating],
    texts: NDArray[np.floating],
    image_groups: ArrayLike,
    text_groups: ArrayLike,
    *,
    max_elements: int = MAX_ELEMENTS,
) -> tuple[QueryRanks, QueryRanks]:
    """Return the ranks of image retrieval (one per text) and of text retrieval (one per image), from one pass.

    Args:
        images: ``(N, D)`` float embeddings.
        texts: ``(M, D)`` float embeddings.
        image_groups: ``(N,)`` integers or strings; equal to a text's group where the two belong together.
        text_groups: ``(M,)`` of the same kind.
        max_elements: scores held at once; the result does not depend on it.

    Raises:
        EvaluationError: an image without captions or a caption without an image (neither is a miss: the data are
            wrong), or arrays that do not fit.
    """
    of_image, of_text = _as_codes(images, texts, image_groups, text_groups, names=("images", "texts"))
    check_partners(of_image, of_text)
    own = Own.by_group(of_text, of_image)
    of_texts, of_images = count_rivals(texts, images, own, max_elements=max_elements)
    num_texts = np.bincount(of_text)[of_image]
    return _ranks(of_texts, own.counts(), len(images)), _ranks(of_images, num_texts, len(texts))


def check_partners(image_groups: ArrayLike, text_groups: ArrayLike) -> None:
    """Check that every image has a caption and every caption an image, by ``(N,)`` and ``(M,)`` group ids.

    Raises:
        EvaluationError: one has none.
    """
    pairs = (("image", image_groups, "caption", text_groups), ("caption", text_groups, "image", image_groups))
    for what, own, lacking, other in pairs:
        lonely = np.flatnonzero(~np.isin(np.asarray(own), np.asarray(other)))
        if len(lonely):
            raise EvaluationError(
                f"every {what} must have at least one {lacking} of its group: {len(lonely)} of {len(np.asarray(own))} "
                f"have none, first: {what} {lonely[0]}"
            )


def recall_at_k(ranks: NDArray[np.int64], k: int) -> float:
    """Return the share of queries whose best relevant candidate is among the first ``k``, in [0, 1].

    A ``k`` above the number of candidates acts as that number, since no rank exceeds it.

    Raises:
        EvaluationError: no ranks, or ``k`` below 1.
    """
    if len(ranks) == 0:
        raise EvaluationError("recall needs at least one query, got none")
    if k < 1:
        raise EvaluationError(f"k must be >= 1, got {k}")
    return float((ranks <= k).mean())


def chance_recall_at_k(num_relevant: NDArray[np.int64], num_candidates: int, k: int) -> float:
    """Return the recall at ``k`` that random order is expected to reach, in [0, 1].

    One query with P relevant of M candidates: 1 - C(M-P, k) / C(M, k); then the mean over ``(Q,)`` ``num_relevant``.
    ``k`` is clamped to M.
    """
    k = min(k, num_candidates)
    drawn = np.arange(k)
    miss = np.clip(num_candidates - num_relevant[:, None] - drawn, 0, None) / (num_candidates - drawn)
    return float(1 - miss.prod(axis=1).mean())


def _as_codes(
    queries: NDArray[np.floating],
    candidates: NDArray[np.floating],
    query_groups: ArrayLike,
    candidate_groups: ArrayLike,
    names: tuple[str, str] = ("queries", "candidates"),
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    groups = np.asarray(query_groups), np.asarray(candidate_groups)
    for name, embeddings, ids in zip(names, (queries, candidates), groups, strict=True):
        if len(embeddings) == 0:
            raise EvaluationError(f"retrieval needs at least one row of {name}, got none")
        if ids.shape != (len(embeddings),):
            raise EvaluationError(f"{name} must have one group id each: {len(embeddings)} rows, ids {ids.shape}")
    if (groups[0].dtype.kind in "iu") != (groups[1].dtype.kind in "iu"):
        raise EvaluationError(f"group ids must be of one kind, got {groups[0].dtype} and {groups[1].dtype}")
    codes = np.unique(np.concatenate(groups), return_inverse=True)[1].astype(np.int64)
    return codes[: len(queries)], codes[len(queries) :]
