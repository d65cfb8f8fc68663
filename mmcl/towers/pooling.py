"""How a tower's output becomes one vector per picture or text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pool_image(output: Any, pooling: str) -> Tensor:
    """Pool a transformers vision model's output.

    Args:
        output: with ``last_hidden_state`` ``(B, L, W)`` or ``(B, W, h, w)``, and perhaps ``pooler_output``.
        pooling: ``pooler``, ``flattened_pooler`` (of models like ResNet, whose pooler leaves a map of one position),
            ``cls`` (first of the L), or ``mean`` (over all L, class token included, or h x w).

    Returns:
        ``(B, W)``.
    """
    if pooling == "pooler":
        return output.pooler_output
    if pooling == "flattened_pooler":
        return output.pooler_output.flatten(1)
    states = output.last_hidden_state
    if states.dim() == 4:
        states = states.flatten(2).transpose(1, 2)
    return states[:, 0] if pooling == "cls" else states.mean(dim=1)


def pool_text(output: Any, mask: Tensor, pooling: str) -> Tensor:
    """Pool a transformers text model's output over real tokens, wherever the padding is.

    Args:
        output: with ``last_hidden_state`` ``(B, L, W)``, and perhaps ``pooler_output``.
        mask: ``(B, L)``, 1 for a token and 0 for padding.
        pooling: ``pooler``, ``cls`` (first token), ``mean``, ``max`` (of each component), or ``last`` (last token).

    Returns:
        ``(B, W)``.
    """
    if pooling == "pooler":
        return output.pooler_output
    states = output.last_hidden_state
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    if pooling == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)
    places = torch.arange(mask.shape[1], device=mask.device)
    index = mask.argmax(dim=1) if pooling == "cls" else (places * mask).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), index]
