"""A classifier from class names alone, as CLIP does it (arXiv:2103.00020, section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.rows import unit_rows
from evaluation.metrics.similarity import MAX_ELEMENTS, similarity_strips

_SLOT = re.compile(r"\{c?\}")


@dataclass(frozen=True)
class ClassRanks:
    """How a classifier's scores order the classes of each example.

    Among equal scores the class of the lower index comes first, in ``ranks`` as in ``predictions``, so the two always
    agree and a collapsed classifier names class 0 for everything: chance, not 100%.

    Attributes:
        predictions: ``(N,)`` int64, the class that comes first.
        ranks: ``(N,)`` int64 from 1, where the true class comes.
        tied: ``(N,)`` bool; another class scores exactly as high as the true one.
    """

    predictions: NDArray[np.int64]
    ranks: NDArray[np.int64]
    tied: NDArray[np.bool_]


def fill_templates(class_names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return the ``K * T`` prompts, all templates of the first class first.

    The place of the class name in a template is ``{}`` or ``{c}``.

    Raises:
        EvaluationError: no class, no template, an empty class name, or a template without a place.
    """
    if not class_names:
        raise EvaluationError("zero-shot classification needs class names, got none")
    if not templates:
        raise EvaluationError("zero-shot classification needs at least one template, got none")
    for template in templates:
        if not _SLOT.search(template):
            raise EvaluationError(f'a template needs a place {{}} for the class name, got "{template}"')
    empty = [index for index, name in enumerate(class_names) if not name.strip()]
    if empty:
        raise EvaluationError(f"every class needs a name, got an empty one for class {empty[0]}")
    # A function, because a replacement string would read backslashes in a name as escapes.
    return [_SLOT.sub(partial(_name, name), template) for name in class_names for template in templates]


def class_weights(prompt_embeddings: NDArray[np.floating], num_classes: int) -> NDArray[np.float32]:
    """Return the ``(K, D)`` float32 classifier, rows of unit norm, from the embeddings of `fill_templates`' prompts.

    Each prompt is normalised, the prompts of a class are averaged, the average is normalised.

    Args:
        prompt_embeddings: ``(K * T, D)`` float, class by class.
        num_classes: K.

    Raises:
        EvaluationError: rows that do not divide by ``num_classes``, that are zero or not finite, or that cancel out.
    """
    num_prompts, width = prompt_embeddings.shape
    if num_prompts == 0 or num_prompts % num_classes:
        raise EvaluationError(f"{num_classes} classes need a multiple of as many prompts, got {num_prompts}")
    means = unit_rows(prompt_embeddings, "prompts").reshape(num_classes, -1, width).mean(axis=1)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    gone = np.flatnonzero(norms == 0)
    if len(gone):
        raise EvaluationError(f"the prompts of a class must not cancel out, those of class {gone[0]} do")
    return np.asarray(means / norms, dtype=np.float32)


def rank_labels(
    images: NDArray[np.floating],
    weights: NDArray[np.floating],
    labels: NDArray[np.int64],
    *,
    max_elements: int = MAX_ELEMENTS,
) -> ClassRanks:
    """Score every image against every class and say where its own came.

    The logit scale changes no order and is left out.

    Args:
        images: ``(N, D)`` float embeddings of unit norm.
        weights: ``(K, D)`` classifier, see `class_weights`.
        labels: ``(N,)`` int64 in 0 .. K-1.
        max_elements: scores held at once; the result does not depend on it.

    Raises:
        EvaluationError: labels that do not fit, or embeddings that are not finite.
    """
    if labels.shape != (len(images),):
        raise EvaluationError(f"one label per image needed, got {len(labels)} for {len(images)}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(weights)):
        raise EvaluationError(f"labels must lie in 0 .. {len(weights) - 1}, got {labels.min()} .. {labels.max()}")
    predictions = np.empty(len(images), dtype=np.int64)
    ranks = np.empty(len(images), dtype=np.int64)
    tied = np.empty(len(images), dtype=np.bool_)
    classes = np.arange(len(weights))
    for rows, scores in similarity_strips(images, weights, max_elements):
        own = labels[rows, None]
        true_score = np.take_along_axis(scores, own, axis=1)
        equal = scores == true_score
        predictions[rows] = scores.argmax(axis=1)
        ranks[rows] = 1 + (scores > true_score).sum(axis=1) + (equal & (classes < own)).sum(axis=1)
        tied[rows] = equal.sum(axis=1) > 1
    return ClassRanks(predictions, ranks, tied)


def _name(name: str, _slot: re.Match[str]) -> str:
    return name
