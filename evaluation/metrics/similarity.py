"""Dot products between two sets of embeddings, a strip of rows at a time; cosines of pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.rows import unit_rows

MAX_ELEMENTS = 2**24
"""Scores held at once by default: 64 MiB of float32."""

_CANDIDATE_BLOCK = 8192
_MAX_ROWS = 4096


def similarity(queries: NDArray[np.floating], candidates: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the ``(Q, M)`` float32 dot products of ``(Q, D)`` queries and ``(M, D)`` candidates.

    Sums run in float64 and are rounded to float32 once. A float32 product depends in its last bit on the shape of the
    block it is part of, so equal embeddings would not score equal, and ties could not be counted; this one does not.
    """
    left = queries.astype(np.float64)
    scores = np.empty((len(queries), len(candidates)), dtype=np.float32)
    for start in range(0, len(candidates), _CANDIDATE_BLOCK):
        block = slice(start, start + _CANDIDATE_BLOCK)
        scores[:, block] = left @ candidates[block].astype(np.float64).T
    return scores


def paired_cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the ``(N,)`` float32 cosines of row i of one matrix and row i of the other.

    Args:
        first: ``(N, D)`` float; normalised here.
        second: ``(N, D)`` float; normalised here.

    Raises:
        EvaluationError: shapes that differ, rows that are zero or not finite.
    """
    if first.shape != second.shape:
        raise EvaluationError(f"pairs need as many rows on both sides, got {first.shape} and {second.shape}")
    # Rounded, because sums in float64 of equal angles differ in their last bits, and would not tie.
    return np.asarray((unit_rows(first) * unit_rows(second)).sum(axis=1), dtype=np.float32)


def similarity_strips(
    queries: NDArray[np.floating], candidates: NDArray[np.floating], max_elements: int = MAX_ELEMENTS
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield ``(rows, scores)``: a slice of the queries and its ``(rows, M)`` float32 scores against all candidates.

    A strip holds at most ``max_elements`` scores (one row where a single row is longer), so the whole ``(Q, M)`` matrix
    never exists.

    Raises:
        EvaluationError: arrays that are not 2-D, differ in width, or hold NaN or infinity.
    """
    check_spaces(queries, candidates)
    num_rows = min(max(1, max_elements // max(1, len(candidates))), _MAX_ROWS)
    for start in range(0, len(queries), num_rows):
        rows = slice(start, min(start + num_rows, len(queries)))
        yield rows, similarity(queries[rows], candidates)


def check_spaces(queries: NDArray[np.floating], candidates: NDArray[np.floating]) -> None:
    """Check that two sets of embeddings can be compared.

    Raises:
        EvaluationError: arrays that are not 2-D, differ in width, or hold NaN or infinity.
    """
    for name, array in (("queries", queries), ("candidates", candidates)):
        if array.ndim != 2:
            raise EvaluationError(f"{name} must be a matrix of one embedding per row, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise EvaluationError(f"{name} must be finite, got NaN or infinity in row {_first_bad_row(array)}")
    if queries.shape[1] != candidates.shape[1]:
        raise EvaluationError(
            f"queries and candidates must share one space, got {queries.shape[1]} and {candidates.shape[1]} dimensions"
        )


def _first_bad_row(array: NDArray[np.floating]) -> int:
    return int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
