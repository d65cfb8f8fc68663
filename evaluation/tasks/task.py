"""What tasks have in common: the interface, and asking an embedder for what it promised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Described, Embedder, Embeddings, Picture, encode_behind, precision_of, prompts_of
from evaluation.errors import EvaluationError
from evaluation.results import TaskResult, library_versions

NORM_TOLERANCE = 1e-2
"""How far from 1 the norm of an embedding may be; half precision errs by a thousandth."""


class Task(Protocol):
    """Something an embedder can be judged by."""

    dataset: str

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return what ``embedder`` reaches.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        ...


def embed_images(embedder: Embedder, images: Sequence[Picture]) -> Embeddings:
    """Return the ``(N, D)`` embeddings of ``images``, checked: one finite float row of unit norm for each."""
    return _checked(embedder, embedder.encode_images(images), len(images), "images")


def embed_texts(embedder: Embedder, texts: Sequence[str], *prompts: str) -> Embeddings:
    """Return the ``(N, D)`` embeddings of ``texts``, checked: one finite float row of unit norm for each.

    Args:
        embedder: the model.
        texts: to encode.
        prompts: names of the prompt that belongs before them. The first that the embedder has is taken; where it has
            none of them, texts are encoded as they are.
    """
    prompt = next((name for name in prompts if name in prompts_of(embedder)), None)
    return _checked(embedder, encode_behind(embedder, texts, prompt), len(texts), "texts")


def identify(embedder: Embedder) -> dict[str, Any]:
    """Return the fields of a `TaskResult` that say which model, in which surroundings, was judged."""
    described = embedder if isinstance(embedder, Described) else None
    return {
        "model": embedder.name,
        "fingerprint": embedder.fingerprint,
        "pretrained": described.pretrained if described else "",
        "preprocessing": (described.preprocessing or None) if described else None,
        "precision": precision_of(embedder),
        "versions": library_versions(),
    }


def example_ids(ids: Sequence[str] | None, num_examples: int, dataset: str) -> NDArray[np.str_]:
    """Return the ``(N,)`` ids by which results of several models are paired; places from 0 where none are given.

    Raises:
        EvaluationError: not one for each example, or one that occurs twice.
    """
    found = np.array([str(number) for number in (range(num_examples) if ids is None else ids)], dtype=np.str_)
    if len(found) != num_examples:
        raise EvaluationError(f"{dataset}: {num_examples} examples must have as many ids, got {len(found)}")
    names, counts = np.unique(found, return_counts=True)
    if len(names) < num_examples:
        raise EvaluationError(f'{dataset}: ids must differ, "{names[counts > 1][0]}" occurs {counts.max()} times')
    return found


def _checked(embedder: Embedder, embeddings: Embeddings, num_rows: int, what: str) -> Embeddings:
    if embeddings.ndim != 2 or len(embeddings) != num_rows or embeddings.dtype.kind != "f":
        raise EvaluationError(
            f"{embedder.name} must give one float row for each of {num_rows} {what}, "
            f"got {embeddings.dtype} of shape {embeddings.shape}"
        )
    norms = np.linalg.norm(embeddings.astype(np.float32, copy=False), axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))  # the negation catches NaN
    if len(wrong):
        raise EvaluationError(
            f"{embedder.name} must embed {what} to unit norm: {len(wrong)} of {num_rows} are not, "
            f"first: {what} {wrong[0]} has norm {norms[wrong[0]]:.4g}"
        )
    return embeddings
