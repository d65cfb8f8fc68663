"""Matryoshka: an objective at several widths of the same embeddings (arXiv:2205.13147)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mmcl.errors import UserError
from mmcl.model import Encoded
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput


def check_dims(dims: Sequence[int], embedding_dim: int, name: str) -> None:
    """Refuse widths that the embeddings do not have.

    Raises:
        UserError: naming the first of them.
    """
    for dim in dims:
        if dim >= embedding_dim:
            raise UserError(
                f"{name}.dims must be less than {embedding_dim}, the width of the model's embeddings, which is always"
                f" taken as well, got {dim}"
            )


def output_at_widths(objective: Objective, encoded: EncodedBatch, dims: Sequence[int]) -> ObjectiveOutput:
    """Return what an objective says of a batch, its loss the mean over ``dims`` and the whole width.

    Equation 1 of the paper with equal weights, divided by their sum, so that the loss stays of one size whatever the
    number of widths. Chance is the same at each.

    Args:
        objective: compares the model's embeddings, and keeps nothing from one call to the next.
        encoded: the batch.
        dims: widths; of each the first so many numbers are taken, and brought to unit norm again.
    """
    whole = objective(encoded)
    losses = [whole.loss]
    for dim in dims:
        views = {key: _truncated(view, dim) for key, view in encoded.views.items()}
        losses.append(objective(replace(encoded, views=views)).loss)
    return replace(whole, loss=torch.stack(losses).mean())


def _truncated(view: Encoded, dim: int) -> Encoded:
    return Encoded.of(view.features, view.projected[:, :dim])
