"""Bitext mining: for each sentence the nearest one of another language, one by one, without margins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from evaluation.errors import EvaluationError
from evaluation.metrics.similarity import MAX_ELEMENTS, similarity_strips


@dataclass(frozen=True)
class Translations:
    """Which candidate each sentence is nearest to.

    Attributes:
        found: ``(N,)`` int64, that candidate; of equal scores, never the sentence's own.
        ranks: ``(N,)`` int64 from 1, where its own came: after all that score at least as high.
        tied: ``(N,)`` bool; a wrong one scored exactly as high as its own.
    """

    found: NDArray[np.int64]
    ranks: NDArray[np.int64]
    tied: NDArray[np.bool_]


def nearest_translations(
    sentences: NDArray[np.floating],
    candidates: NDArray[np.floating],
    own: NDArray[np.int64],
    *,
    max_elements: int = MAX_ELEMENTS,
) -> Translations:
    """Find which candidate each sentence is nearest to by dot product.

    Args:
        sentences: ``(N, D)`` float embeddings, of unit norm for cosine similarity.
        candidates: ``(M, D)`` float embeddings.
        own: ``(N,)`` int64, the candidate that each sentence should find.
        max_elements: scores held at once; the result does not depend on it.

    Raises:
        EvaluationError: fewer than two candidates, or arrays that do not fit.
    """
    if len(candidates) < 2 or own.shape != (len(sentences),):
        raise EvaluationError(
            f"bitext mining needs two candidates or more, and one for each sentence, got {len(candidates)} candidates, "
            f"{len(sentences)} sentences and {own.shape}"
        )
    found, ranks = np.empty_like(own), np.empty_like(own)
    tied = np.empty(len(own), dtype=bool)
    for rows, scores in similarity_strips(sentences, candidates, max_elements):
        line, right = np.arange(len(scores)), own[rows]
        own_scores = scores[line, right]
        scores[line, right] = -np.inf  # what is left are the rivals
        rival = scores.argmax(axis=1)
        found[rows] = np.where(own_scores > scores[line, rival], right, rival)
        ranks[rows] = 1 + (scores >= own_scores[:, None]).sum(axis=1)
        tied[rows] = (scores == own_scores[:, None]).any(axis=1)
    return Translations(found, ranks, tied)


def weighted_f1(
    own: NDArray[np.int64],
    found: NDArray[np.int64],
    num_candidates: int,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the ``(R,)`` mean of each candidate's F1, weighed by how many sentences should find it.

    As scikit-learn's ``f1_score(average="weighted")``, which MTEB's bitext mining reports.

    Args:
        own: ``(N,)`` int64, what should be found.
        found: ``(N,)`` int64, what was.
        num_candidates: of both.
        weights: ``(R, N)`` how often each sentence was drawn; None counts each once, and R is 1.
    """
    weights = np.ones((1, len(own))) if weights is None else weights
    wanted, given = (_by_candidate(rows, num_candidates) for rows in (own, found))
    num_wanted, num_given = weights @ wanted, weights @ given
    num_right = (weights * (own == found)) @ wanted
    f1 = 2 * num_right / np.maximum(num_wanted + num_given, 1)
    return np.asarray((f1 * num_wanted).sum(axis=1) / weights.sum(axis=1))


def _by_candidate(rows: NDArray[np.int64], num_candidates: int) -> csr_matrix:
    return csr_matrix((np.ones(len(rows)), (np.arange(len(rows)), rows)), shape=(len(rows), num_candidates))
