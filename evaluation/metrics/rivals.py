"""How many candidates score at least as high as the best of a query's own: exact, at the speed of float32 products.

A score is the float64 dot product of two embeddings, rounded to float32 once, as `similarity` has it. Blocks of float32
products stand in for it: they lie within a proven distance of it, so that only scores nearer than that to what they are
compared with have to be computed in float64. One block serves both directions: its rows are queries of its columns, and
its columns of its rows. The whole matrix never exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.similarity import MAX_ELEMENTS, check_spaces, similarity

_TILE_ROWS, _TILE_COLUMNS = 1024, 2048
# Scores compared at a time: with what comes of the comparisons they stay in a processor's own cache.
_COMPARED = 2**16
# A float64 product of a whole tile takes as long as one in so many of its scores one by one.
_DENSE = 64
_GATHERED = 2**20

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Own:
    """Which candidates are a query's own; queries may share a list of them.

    Attributes:
        lists: ``(Q,)`` int64, the list of each query.
        starts: ``(L + 1,)`` int64, where each list begins and the last one ends.
        candidates: ``(P,)`` int64, list after list, ascending within each.
        num_candidates: M, those of all queries.
    """

    lists: NDArray[np.int64]
    starts: NDArray[np.int64]
    candidates: NDArray[np.int64]
    num_candidates: int

    @classmethod
    def by_group(cls, query_groups: NDArray[np.int64], candidate_groups: NDArray[np.int64]) -> Own:
        """Return as own what is of the query's group, by ``(Q,)`` and ``(M,)`` groups from 0."""
        num_groups = 1 + max(query_groups.max(), candidate_groups.max())
        ends = np.bincount(candidate_groups, minlength=num_groups).cumsum()
        order = candidate_groups.argsort(kind="stable")
        return cls(query_groups, np.concatenate([[0], ends]), order, len(order))

    def counts(self) -> NDArray[np.int64]:
        """Return ``(Q,)``, how many candidates are each query's own."""
        return np.diff(self.starts)[self.lists]

    @cached_property
    def _keys(self) -> NDArray[np.int64]:
        """``(P,)`` ascending: list and candidate as one number."""
        lists = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return lists * self.num_candidates + self.candidates

    def pairs(self, rows: slice, columns: slice) -> Pairs:
        """Return the places in a tile, counted from its corner, where a query meets a candidate of its own."""
        first = self.lists[rows] * self.num_candidates
        low, high = (np.searchsorted(self._keys, first + end) for end in (columns.start, columns.stop))
        counts = high - low
        places = np.arange(counts.sum()) + np.repeat(low - (counts.cumsum() - counts), counts)
        return np.repeat(np.arange(len(counts)), counts), self.candidates[places] - columns.start


@dataclass(frozen=True)
class Rivals:
    """What the queries of one direction have against them: candidates that are not their own.

    Attributes:
        num_above: ``(Q,)`` int64, those that score higher than the best of a query's own.
        num_equal: ``(Q,)`` int64, those that score exactly as high.
    """

    num_above: NDArray[np.int64]
    num_equal: NDArray[np.int64]


def count_rivals(
    queries: NDArray[np.floating],
    candidates: NDArray[np.floating],
    own: Own,
    *,
    max_elements: int = MAX_ELEMENTS,
) -> tuple[Rivals, Rivals]:
    """Count the rivals of every query among the candidates, and of every candidate among the queries, in one pass.

    Args:
        queries: ``(Q, D)`` float embeddings.
        candidates: ``(M, D)`` float embeddings.
        own: at least one candidate for every query. A candidate that is no query's own has all of them above it.
        max_elements: scores held at once; the result does not depend on it.

    Raises:
        EvaluationError: arrays that are not 2-D, differ in width, hold NaN or infinity, or are too large for float32.
    """
    check_spaces(queries, candidates)
    matrix = _Matrix(queries, candidates)
    tiles = list(_tiles(len(queries), len(candidates), max_elements))
    best = np.full(len(queries), -np.inf, np.float32), np.full(len(candidates), -np.inf, np.float32)
    for rows, columns in tiles:
        places = own.pairs(rows, columns)
        scores = matrix.exact_at(rows, columns, places)
        for highest, part, place in zip(best, (rows, columns), places, strict=True):
            np.maximum.at(highest[part], place, scores)
    sides = _Side(best[0], matrix.error_of_rows), _Side(best[1], matrix.error_of_columns)
    for rows, columns in tiles:
        scores = matrix.product(rows, columns)
        scores[own.pairs(rows, columns)] = -np.inf  # what is left are the rivals
        for axis, (side, part) in enumerate(zip(sides, (rows, columns), strict=True)):
            places = side.compare(scores, part, axis)
            side.settle(matrix.exact_at(rows, columns, places), part, places[axis])
    return sides[0].rivals(), sides[1].rivals()


def _tiles(num_rows: int, num_columns: int, max_elements: int) -> Iterator[tuple[slice, slice]]:
    width = min(_TILE_COLUMNS, num_columns, max(1, max_elements))
    height = min(_TILE_ROWS, max(1, max_elements // width))
    for row in range(0, num_rows, height):
        for column in range(0, num_columns, width):
            yield slice(row, min(row + height, num_rows)), slice(column, min(column + width, num_columns))


class _Matrix:
    """The scores of queries (rows) and candidates (columns), computed where they are asked for.

    Attributes:
        error_of_rows: ``(Q,)`` float64, how far a product of `product` may lie from the score.
        error_of_columns: ``(M,)`` the same for a column.
    """

    def __init__(self, queries: NDArray[np.floating], candidates: NDArray[np.floating]) -> None:
        self._queries, self._candidates = queries, candidates
        self._block = np.empty(_TILE_ROWS * _TILE_COLUMNS, np.float32)
        norms = [_norms(side) for side in (queries, candidates)]
        # A sum of D products, in whatever order, fused or not, is off by no more than D / (1 - D u) roundings of
        # u = 2^-24, each relative to sum |q_d c_d| <= |q| |c| (Higham, Accuracy and Stability of Numerical Algorithms,
        # section 3.1). Four more: of float64 inputs to float32, of the score, and some to spare. Each product may also
        # underflow.
        width = queries.shape[1]
        share = (width + 4) * 2.0**-24
        share /= 1 - share
        self.error_of_rows, self.error_of_columns = (
            share * mine * other.max(initial=0.0) + width * 2.0**-149 for mine, other in (norms, norms[::-1])
        )
        if not norms[0].max(initial=0.0) * norms[1].max(initial=0.0) < np.finfo(np.float32).max / 2:
            raise EvaluationError("embeddings are too large: their dot products overflow float32")

    def product(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return the float32 products of a tile, in a buffer that the next call fills anew."""
        shape = rows.stop - rows.start, columns.stop - columns.start
        out = self._block[: shape[0] * shape[1]].reshape(shape)
        left, right = (side.astype(np.float32, copy=False) for side in (self._queries[rows], self._candidates[columns]))
        return np.matmul(left, right.T, out=out)

    def exact_at(self, rows: slice, columns: slice, places: Pairs) -> NDArray[np.float32]:
        """Return ``(P,)`` the scores at places of a tile, counted from its corner."""
        queries, candidates = self._queries[rows], self._candidates[columns]
        if len(places[0]) * _DENSE > len(queries) * len(candidates):
            return similarity(queries, candidates)[places]
        scores = np.empty(len(places[0]), np.float32)
        num = max(1, _GATHERED // max(1, queries.shape[1]))
        for start in range(0, len(scores), num):
            left, right = (place[start : start + num] for place in places)
            scores[start : start + num] = (queries[left].astype(np.float64) * candidates[right]).sum(axis=1)
        return scores


def _norms(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)))


class _Side:
    """The queries of one direction: what they are compared with, and what has been counted.

    Args:
        best: ``(N,)`` float32, the best score of each one's own.
        error: ``(N,)`` float64, how far a float32 product may lie from a score.
    """

    def __init__(self, best: NDArray[np.float32], error: NDArray[np.float64]) -> None:
        self._best = best
        # Rounded outwards. An own candidate's -inf stays below all.
        self._lowest = np.nextafter((best - error).astype(np.float32), np.float32(-np.inf))
        self._highest = np.nextafter((best + error).astype(np.float32), np.float32(np.inf))
        self._num_above = np.zeros(len(best), np.int64)
        self._num_equal = np.zeros(len(best), np.int64)

    def compare(self, scores: NDArray[np.float32], part: slice, axis: int) -> Pairs:
        """Count what is above for certain; return the places that are too near to say.

        Args:
            scores: ``(R, C)`` float32 products of a tile.
            part: which of this side's queries the tile has.
            axis: along which they stand in it.
        """
        lowest, highest = self._lowest[part], self._highest[part]
        num_above, near = self._num_above[part], []
        height = max(1, min(_COMPARED // scores.shape[1], 255))  # a count of it fits into uint8
        for start in range(0, len(scores), height):
            rows = slice(start, start + height)
            if axis == 0:
                is_above, is_near = _flags(scores[rows], lowest[rows, None], highest[rows, None])
                num_above[rows] += np.fromiter(map(np.count_nonzero, is_above), np.int64, len(is_above))
            else:
                is_above, is_near = _flags(scores[rows], lowest, highest)
                num_above += np.add.reduce(is_above.view(np.uint8), axis=0, dtype=np.uint8)
            near.append(np.flatnonzero(is_near) + start * scores.shape[1])
        return np.divmod(np.concatenate(near), scores.shape[1])

    def settle(self, exact: NDArray[np.float32], part: slice, place: NDArray[np.int64]) -> None:
        """Count the scores that were too near to say; ``place`` is where in ``part`` the query of each stands."""
        best = self._best[part][place]
        num = part.stop - part.start
        self._num_above[part] += np.bincount(place[exact > best], minlength=num)
        self._num_equal[part] += np.bincount(place[exact == best], minlength=num)

    def rivals(self) -> Rivals:
        return Rivals(self._num_above, self._num_equal)


def _flags(
    scores: NDArray[np.float32], lowest: NDArray[np.float32], highest: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which scores are above what they are compared with, and which are near it, neither above nor below."""
    is_above = scores > highest
    return is_above, is_above != (scores >= lowest)
