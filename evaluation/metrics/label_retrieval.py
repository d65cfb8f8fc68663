"""Retrieval by label, where many candidates are relevant: precision over all of them, ties against the model.

A candidate is relevant where its label is the query's. Where a rival scores exactly as high as a relevant candidate,
the rival comes first, so that a collapsed model comes out last instead of first; such queries are counted. Where there
are no ties, average precision is scikit-learn's and trec_eval's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.similarity import MAX_ELEMENTS, similarity_strips


@dataclass(frozen=True)
class LabelRanks:
    """How well the relevant candidates of each query were ranked.

    Attributes:
        ranks: ``(Q,)`` int64 from 1, where the first relevant candidate came.
        average_precision: ``(Q,)`` the mean, over the relevant candidates, of the precision where each came.
        map_at_r: ``(Q,)`` the same over the first R alone, R being how many are relevant; one that comes later counts
            as 0 (Musgrave et al. 2020, arXiv:2003.08505, section 3.2).
        num_relevant: ``(Q,)`` int64, at least 1.
        num_candidates: of every query.
        tied: ``(Q,)`` bool; a rival scored exactly as high as a relevant candidate.
    """

    ranks: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    map_at_r: NDArray[np.float64]
    num_relevant: NDArray[np.int64]
    num_candidates: int
    tied: NDArray[np.bool_]


def rank_by_label(
    queries: NDArray[np.floating],
    candidates: NDArray[np.floating],
    query_labels: NDArray[np.int64],
    candidate_labels: NDArray[np.int64],
    own: NDArray[np.int64] | None = None,
    *,
    max_elements: int = MAX_ELEMENTS,
) -> LabelRanks:
    """Rank all candidates of every query by dot product.

    Args:
        queries: ``(Q, D)`` float embeddings, of unit norm for cosine similarity.
        candidates: ``(M, D)`` float embeddings.
        query_labels: ``(Q,)`` int64.
        candidate_labels: ``(M,)`` int64.
        own: ``(Q,)`` int64, the row of ``candidates`` that each query is itself, which is no candidate of it (leave one
            out); None where queries are none of the candidates.
        max_elements: scores held at once; the result does not depend on it.

    Raises:
        EvaluationError: a query without a relevant candidate, or arrays that do not fit.
    """
    num_relevant = _num_relevant(queries, candidates, query_labels, candidate_labels, own is not None)
    found = LabelRanks(
        ranks=np.empty(len(queries), dtype=np.int64),
        average_precision=np.empty(len(queries)),
        map_at_r=np.empty(len(queries)),
        num_relevant=num_relevant,
        num_candidates=len(candidates) - (own is not None),
        tied=np.empty(len(queries), dtype=np.bool_),
    )
    for rows, strip in similarity_strips(queries, candidates, max_elements):
        for row, scores in enumerate(strip, start=rows.start):
            is_relevant = candidate_labels == query_labels[row]
            is_rival = ~is_relevant
            if own is not None:
                is_relevant[own[row]] = False
            _fill(found, row, scores[is_relevant], np.sort(scores[is_rival]))
    return found


def _num_relevant(
    queries: NDArray[np.floating],
    candidates: NDArray[np.floating],
    query_labels: NDArray[np.int64],
    candidate_labels: NDArray[np.int64],
    leaves_one_out: bool,
) -> NDArray[np.int64]:
    """Return how many candidates each query looks for; refuse one that looks for none."""
    for name, given, labels in (("query", queries, query_labels), ("candidate", candidates, candidate_labels)):
        if labels.shape != (len(given),) or len(given) == 0:
            raise EvaluationError(f"one label per {name} needed, and one at least, got {len(labels)} for {len(given)}")
    labels, counts = np.unique(candidate_labels, return_counts=True)
    place = np.searchsorted(labels, query_labels).clip(max=len(labels) - 1)
    num_relevant = np.where(labels[place] == query_labels, counts[place], 0) - leaves_one_out
    lonely = np.flatnonzero(num_relevant < 1)
    if len(lonely):
        raise EvaluationError(f"{len(lonely)} of {len(queries)} queries have no relevant candidate, first: {lonely[0]}")
    return np.asarray(num_relevant)


def _fill(found: LabelRanks, row: int, relevant: NDArray[np.float32], rivals: NDArray[np.float32]) -> None:
    """Rank the relevant candidates of one query among its rivals, which come in ascending order."""
    relevant = np.sort(relevant)[::-1]
    num_ahead = len(rivals) - np.searchsorted(rivals, relevant, side="left")
    number = np.arange(1, len(relevant) + 1)
    ranks = number + num_ahead
    precision = number / ranks
    found.ranks[row] = ranks[0]
    found.average_precision[row] = precision.mean()
    found.map_at_r[row] = precision[ranks <= len(relevant)].sum() / len(relevant)
    found.tied[row] = (num_ahead > len(rivals) - np.searchsorted(rivals, relevant, side="right")).any()


def chance_average_precision(
    num_relevant: NDArray[np.int64], num_candidates: int, depth: NDArray[np.int64] | None = None
) -> float:
    """Return the average precision that random order is expected to reach, mean over queries, in [0, 1].

    A candidate at place n is relevant with probability R / M, and of the n - 1 before it a share of (R - 1) / (M - 1)
    is then; so the precision there is expected to be (1 + (n - 1) (R - 1) / (M - 1)) / n, and the sum over places 1 to
    ``depth`` over R is H_depth / M plus (R - 1) / (M - 1) times (depth - H_depth) / M, with H the harmonic numbers.

    Args:
        num_relevant: ``(Q,)`` R.
        num_candidates: M.
        depth: ``(Q,)`` places that count; by default all.
    """
    places = np.full(len(num_relevant), num_candidates) if depth is None else depth
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, num_candidates + 1))])[places]
    density = (num_relevant - 1) / max(1, num_candidates - 1)
    return float(((harmonic + density * (places - harmonic)) / num_candidates).mean())
