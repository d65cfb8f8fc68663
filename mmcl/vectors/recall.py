"""How many of its nearest neighbours a vector keeps when all are stored smaller."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmcl.vectors.stored import Vectors

K = 10
MAX_QUERIES = 1_000


@dataclass(frozen=True)
class Recall:
    """A measured recall.

    Attributes:
        value: share of the k nearest by exact vectors that are among the k nearest by stored ones, 0 to 1.
        k: how many neighbours; 10, or all others where there are fewer.
        num_queries: vectors whose neighbours were looked for, drawn from all.
        num_vectors: among how many, itself not counted as its own neighbour.
    """

    value: float
    k: int
    num_queries: int
    num_vectors: int

    def __str__(self) -> str:
        return f"recall@{self.k} {self.value:.4f} ({self.num_queries:,} queries among {self.num_vectors:,} vectors)"


def draw_queries(num_vectors: int) -> NDArray[np.int64]:
    """Return the places of up to 1,000 queries, ascending; always the same for as many vectors."""
    chosen = np.random.default_rng(0).permutation(num_vectors)[:MAX_QUERIES]
    return np.sort(chosen).astype(np.int64)


def measure_recall(
    blocks: Iterable[tuple[Vectors, Vectors]],
    queries: tuple[Vectors, Vectors],
    places: NDArray[np.int64],
    num_vectors: int,
) -> Recall | None:
    """Compare the nearest neighbours by inner product of exact vectors with those by stored ones.

    A neighbour counts as kept when it is exactly as near as the k-th of the exact ones, so that equal vectors cost
    nothing whichever of them is found.

    Args:
        blocks: all vectors in order, some at a time: ``(n, D)`` exact, and ``(n, d)`` as stored. Memory is bounded by
            one block.
        queries: the same of the queries: ``(Q, D)`` exact, and ``(Q, d)`` as they are compared with stored vectors.
        places: ``(Q,)`` where the queries stand among all.
        num_vectors: N.

    Returns:
        None where there are no two vectors.
    """
    k = min(K, num_vectors - 1)
    if k < 1:
        return None
    exact_queries, stored_queries = (torch.from_numpy(np.ascontiguousarray(rows)) for rows in queries)
    nearest = torch.full((len(places), k), -torch.inf)
    found, exact_of_found = nearest.clone(), nearest.clone()
    start = 0
    for exact, stored in blocks:
        scores = _scores(exact_queries, exact, places, start)
        nearest = torch.cat([nearest, scores], dim=1).topk(k).values
        found, chosen = torch.cat([found, _scores(stored_queries, stored, places, start)], dim=1).topk(k)
        exact_of_found = torch.cat([exact_of_found, scores], dim=1).gather(1, chosen)
        start += len(exact)
    kept = exact_of_found >= nearest[:, -1:]
    return Recall(kept.double().mean().item(), k, len(places), num_vectors)


def _scores(queries: Tensor, rows: Vectors, places: NDArray[np.int64], start: int) -> Tensor:
    """Return ``(Q, n)`` inner products, minus infinity where a query meets itself."""
    scores = queries @ torch.from_numpy(np.ascontiguousarray(rows)).T
    inside = np.flatnonzero((places >= start) & (places < start + len(rows)))
    scores[torch.from_numpy(inside), torch.from_numpy(places[inside] - start)] = -torch.inf
    return scores
