"""How healthy a representation is: does it use its space, do positives meet, do modalities meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.rows import unit_rows
from evaluation.metrics.similarity import MAX_ELEMENTS


def alignment(first: NDArray[np.floating], second: NDArray[np.floating], alpha: float = 2.0) -> float:
    """Return the mean distance of positives to the power ``alpha``: 0 where they coincide, 2 for unrelated ones.

    ``mean ||x_i - y_i||^alpha`` of unit vectors (arXiv:2005.10242, equation 1).

    Args:
        first: ``(N, D)`` float, N at least 1; normalised here.
        second: ``(N, D)`` float, row i the positive of row i; normalised here.
        alpha: above 0.

    Raises:
        EvaluationError: shapes that differ, no rows, rows that are zero or not finite.
    """
    if first.shape != second.shape or len(first) == 0:
        raise EvaluationError(f"alignment needs as many rows on both sides, got {first.shape} and {second.shape}")
    distances = np.linalg.norm(unit_rows(first) - unit_rows(second), axis=1)
    return float((distances**alpha).mean())


def uniformity(embeddings: NDArray[np.floating], t: float = 2.0, *, max_elements: int = MAX_ELEMENTS) -> float:
    """Return how evenly unit vectors fill the sphere: 0 when all are one, towards -2t (-4 by default) when even.

    ``log mean exp(-t ||x_i - x_j||^2)`` over the pairs i < j (arXiv:2005.10242, equation 2).

    Args:
        embeddings: ``(N, D)`` float, N at least 2; normalised here.
        t: above 0.
        max_elements: pairs held at once; the result does not depend on it.

    Raises:
        EvaluationError: fewer than two rows, or rows that are zero or not finite.
    """
    units = _at_least_two(embeddings, "uniformity")
    num_rows = max(1, max_elements // len(units))
    total = 0.0
    for start in range(0, len(units), num_rows):
        cosines = units[start : start + num_rows] @ units[start:].T
        potentials = np.exp(-t * np.maximum(2 - 2 * cosines, 0))
        total += float(np.triu(potentials, k=1).sum())
    return float(np.log(total / (len(units) * (len(units) - 1) / 2)))


def modality_gap(images: NDArray[np.floating], texts: NDArray[np.floating]) -> float:
    """Return the distance between the mean unit vectors of two modalities, 0 to 2 (arXiv:2203.02053, section 2).

    Args:
        images: ``(N, D)`` float, N at least 1; normalised here.
        texts: ``(M, D)`` float, M at least 1; normalised here. Rows need not belong together.

    Raises:
        EvaluationError: no rows, widths that differ, rows that are zero or not finite.
    """
    if len(images) == 0 or len(texts) == 0 or images.shape[1:] != texts.shape[1:]:
        raise EvaluationError(f"the gap needs rows of one space on both sides, got {images.shape} and {texts.shape}")
    return float(np.linalg.norm(unit_rows(images).mean(axis=0) - unit_rows(texts).mean(axis=0)))


def spread(embeddings: NDArray[np.floating]) -> float:
    """Return the mean over dimensions of the standard deviation of unit vectors, times sqrt(D).

    About 1 for vectors even on the sphere, 0 when all are one: collapse (arXiv:2011.10566, section 4.1). The standard
    deviation is that of the rows as a population (divided by N).

    Args:
        embeddings: ``(N, D)`` float, N at least 2; normalised here.

    Raises:
        EvaluationError: fewer than two rows, or rows that are zero or not finite.
    """
    units = _at_least_two(embeddings, "spread")
    return float(units.std(axis=0).mean() * np.sqrt(units.shape[1]))


def effective_rank(features: NDArray[np.floating]) -> float:
    """Return the exponential of the entropy of the singular values, 1 to min(N, D).

    ``exp(-sum p_k ln p_k)`` with ``p_k`` the k-th singular value over their sum (Roy and Vetterli 2007, definition 1;
    RankMe, arXiv:2210.02885). The features are taken as they are, neither centred nor normalised, as both papers have
    it: a common direction counts, so that vectors that are all nearly one have rank 1, whatever noise is left of them.

    Args:
        features: ``(N, D)`` float, N at least 1.

    Raises:
        EvaluationError: features that are not a matrix, all zero, or not finite.
    """
    if features.ndim != 2 or not features.size or not np.isfinite(features).all():
        raise EvaluationError(
            f"the effective rank needs a finite matrix, got shape {features.shape} or values that are not"
        )
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    if not values.sum() > 0:
        raise EvaluationError("the effective rank of features that are all zero is not defined")
    shares = values / values.sum()
    present = shares[shares > 0]  # 0 ln 0 is 0
    return float(np.exp(-(present * np.log(present)).sum()))


def _at_least_two(embeddings: NDArray[np.floating], what: str) -> NDArray[np.float64]:
    if len(embeddings) < 2:
        raise EvaluationError(f"{what} needs at least two rows, got {len(embeddings)}")
    return unit_rows(embeddings)
