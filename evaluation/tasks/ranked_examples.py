"""Some queries a model answered rightly, some it did not, and what it put first for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embeddings
from evaluation.exhibits import Candidate, Item, RankedExample, choose_examples
from evaluation.metrics import similarity

NUM_EXAMPLES_EACH = 4
NUM_CANDIDATES = 5


@dataclass(frozen=True)
class Side:
    """Queries or candidates of a ranking.

    Attributes:
        embeddings: ``(N, D)`` float32 of unit norm.
        groups: ``(N,)`` int64; a candidate is right for the queries of its group.
        item: what to show of a row; pictures are decoded here and only here.
    """

    embeddings: Embeddings
    groups: NDArray[np.int64]
    item: Callable[[int], Item]


def ranked_examples(queries: Side, candidates: Side, ranks: NDArray[np.int64], seed: int) -> tuple[RankedExample, ...]:
    """Return up to `NUM_EXAMPLES_EACH` successes and as many failures, successes first.

    Args:
        queries: Q rows.
        candidates: M rows, at least one of every query's group.
        ranks: ``(Q,)`` int64 from 1, as the metrics have them.
        seed: of the choice.
    """
    successes, failures = choose_examples(ranks, queries.groups, NUM_EXAMPLES_EACH, seed)
    return tuple(_ranked_example(queries, candidates, row, int(ranks[row])) for row in successes + failures)


def _ranked_example(queries: Side, candidates: Side, row: int, rank: int) -> RankedExample:
    scores = similarity(queries.embeddings[row : row + 1], candidates.embeddings)[0]
    is_relevant = candidates.groups == queries.groups[row]
    order = np.argsort(-scores, kind="stable")

    def candidate(index: int) -> Candidate:
        return Candidate(candidates.item(index), float(scores[index]), bool(is_relevant[index]))

    return RankedExample(
        query=queries.item(row),
        candidates=tuple(candidate(index) for index in order[:NUM_CANDIDATES].tolist()),
        wanted=candidate(int(order[is_relevant[order]][0])),
        rank=rank,
        num_candidates=len(scores),
    )
