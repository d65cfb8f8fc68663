"""Ranked retrieval with graded relevance: nDCG, MRR, MAP and recall at k, as trec_eval computes them.

A grade above 0 is relevant. Ties are strict: of candidates with equal scores, those of lower grade come first, so that
what is relevant must beat the rest, not draw with it. (trec_eval orders them by the names of documents, which makes a
number depend on how documents are called.) Where no scores tie, the numbers are trec_eval's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.similarity import MAX_ELEMENTS, similarity_strips


@dataclass(frozen=True)
class RankedGrades:
    """What each query found first.

    Attributes:
        candidates: ``(Q, K)`` int64, the candidates of highest score, best first.
        scores: ``(Q, K)`` float32, theirs.
        grades: ``(Q, K)`` float64 how relevant each is, 0 for not at all.
        ideal: ``(Q, K)`` float64 the highest grades of the query, falling, zeros where there are no more.
        num_relevant: ``(Q,)`` int64 relevant candidates of the whole corpus.
        tied: ``(Q,)`` bool; within the first K, candidates of different grades had equal scores.
    """

    candidates: NDArray[np.int64]
    scores: NDArray[np.float32]
    grades: NDArray[np.float64]
    ideal: NDArray[np.float64]
    num_relevant: NDArray[np.int64]
    tied: NDArray[np.bool_]


def rank_grades(
    queries: NDArray[np.floating],
    candidates: NDArray[np.floating],
    relevance: Sequence[Mapping[int, float]],
    k: int,
    *,
    max_elements: int = MAX_ELEMENTS,
) -> RankedGrades:
    """Find the first ``k`` candidates of every query by dot product, exactly, a strip of queries at a time.

    Args:
        queries: ``(Q, D)`` float embeddings, of unit norm for cosine similarity.
        candidates: ``(M, D)`` float embeddings.
        relevance: for each query the grades of candidates, by row; of those not named it is 0.
        k: at least 1, clamped to M; K of the result.
        max_elements: scores held at once; the result does not depend on it.

    Raises:
        EvaluationError: a query without a relevant candidate, or arrays that do not fit.
    """
    if len(queries) == 0 or len(candidates) == 0 or len(relevance) != len(queries):
        raise EvaluationError(
            f"ranking needs queries with grades and candidates, got {len(queries)} queries, {len(relevance)} with "
            f"grades, and {len(candidates)} candidates"
        )
    num_relevant = np.array([sum(grade > 0 for grade in grades.values()) for grades in relevance], dtype=np.int64)
    lonely = np.flatnonzero(num_relevant == 0)
    if len(lonely):
        raise EvaluationError(f"{len(lonely)} of {len(queries)} queries have no relevant candidate, first: {lonely[0]}")
    k = min(k, len(candidates))
    found = RankedGrades(
        candidates=np.empty((len(queries), k), dtype=np.int64),
        scores=np.empty((len(queries), k), dtype=np.float32),
        grades=np.empty((len(queries), k)),
        ideal=np.zeros((len(queries), k)),
        num_relevant=num_relevant,
        tied=np.zeros(len(queries), dtype=bool),
    )
    grades = np.zeros(len(candidates))
    for rows, strip in similarity_strips(queries, candidates, max_elements):
        for row, scores in enumerate(strip, start=rows.start):
            known = relevance[row]
            grades[list(known)] = list(known.values())
            _fill(found, row, scores, grades)
            best = sorted(known.values(), reverse=True)[:k]
            found.ideal[row, : len(best)] = np.maximum(best, 0)
            grades[list(known)] = 0
    return found


def _fill(found: RankedGrades, row: int, scores: NDArray[np.float32], grades: NDArray[np.float64]) -> None:
    """Rank the candidates of one query."""
    k = found.candidates.shape[1]
    # All that tie with the last of them count, because of those the least relevant come first.
    near = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    near = near[np.lexsort((grades[near], -scores[near]))]
    is_tied = (scores[near][1:] == scores[near][:-1]) & (grades[near][1:] != grades[near][:-1])
    found.tied[row] = is_tied.any()
    found.candidates[row], found.scores[row] = near[:k], scores[near[:k]]
    found.grades[row] = np.maximum(grades[near[:k]], 0)


def ndcg_at_k(found: RankedGrades, k: int) -> NDArray[np.float64]:
    """Return the ``(Q,)`` discounted gain of the first ``k``, over the highest there can be, in [0, 1].

    The gain of a candidate is its grade, the discount at rank r is 1 / log2(r + 1) (Järvelin and Kekäläinen 2002, as
    trec_eval's ``ndcg_cut``).
    """
    discounts = 1 / np.log2(np.arange(found.grades[:, :k].shape[1]) + 2)
    return np.asarray((found.grades[:, :k] @ discounts) / (found.ideal[:, :k] @ discounts))


def mrr_at_k(found: RankedGrades, k: int) -> NDArray[np.float64]:
    """Return the ``(Q,)`` reciprocal rank of the first relevant candidate, 0 where it is not among the first ``k``."""
    is_relevant = found.grades[:, :k] > 0
    return np.where(is_relevant.any(axis=1), 1 / (is_relevant.argmax(axis=1) + 1), 0.0)


def map_at_k(found: RankedGrades, k: int) -> NDArray[np.float64]:
    """Return the ``(Q,)`` average precision within the first ``k``, over all relevant candidates (``map_cut``)."""
    is_relevant = found.grades[:, :k] > 0
    precision = np.cumsum(is_relevant, axis=1) / (np.arange(is_relevant.shape[1]) + 1)
    return np.asarray((precision * is_relevant).sum(axis=1) / found.num_relevant)


def relevant_recall_at_k(found: RankedGrades, k: int) -> NDArray[np.float64]:
    """Return the ``(Q,)`` share of a query's relevant candidates that is among the first ``k``."""
    return np.asarray((found.grades[:, :k] > 0).sum(axis=1) / found.num_relevant)
