"""What every pair of towers offers, wherever it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.batch import TokenBatch
from mmcl.text.tokenizer import TextTokenizer
from mmcl.towers.preprocessing import ImagePreprocessing


class Towers(nn.Module, ABC):
    """An image encoder and a text encoder that end in one space.

    Attributes:
        embedding_dim: D, the width of the shared space.
        image_dim: width of the image tower's features, before the projection.
        text_dim: width of the text tower's features, before the projection.
    """

    embedding_dim: int
    image_dim: int
    text_dim: int

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features ``(B, W)`` and their projection ``(B, D)``, not normalised, of ``(B, 3, H, W)`` pixels."""

    @abstractmethod
    def encode_text(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        """Return features ``(B, W)`` and their projection ``(B, D)``, not normalised."""


@dataclass(frozen=True)
class LoadedTowers:
    """Towers with what belongs to them.

    Attributes:
        towers: the encoders, with unused parameters frozen.
        preprocessing: what pictures go through.
        tokenizer: what texts go through.
        log_scale: ln(1 / temperature) of the checkpoint; None where it has none.
        logit_bias: SigLIP's bias of the checkpoint; None where it has none.
        origin: what they were made from, for the model card.
    """

    towers: Towers
    preprocessing: ImagePreprocessing
    tokenizer: TextTokenizer
    log_scale: float | None
    logit_bias: float | None
    origin: str


def parameters_behind(output: Tensor) -> set[int]:
    """Return the ids of the parameters that ``output`` depends on, by its autograd graph."""
    found: set[int] = set()
    seen: set[Any] = set()
    pending: list[Any] = [output.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        pending.extend(parent for parent, _ in node.next_functions)
    return found


def freeze_unused(towers: Towers, image: tuple[Tensor, Tensor], text: tuple[Tensor, Tensor]) -> None:
    """Freeze parameters that no embedding depends on, such as a pooler that another pooling leaves unused.

    A trained parameter without a gradient would stop DistributedDataParallel, and would count as trained.

    Args:
        towers: changed in place.
        image: what `probe` returned for the picture.
        text: what `probe` returned for the text.
    """
    used = parameters_behind(image[1]) | parameters_behind(text[1])
    for parameter in towers.parameters():
        if id(parameter) not in used:
            parameter.requires_grad_(False)


def probe(towers: Towers, size: int, tokenizer: TextTokenizer) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return what both towers make of a grey picture and a short text, with its autograd graph."""
    was_training = towers.training
    towers.eval()
    with torch.enable_grad():
        image = towers.encode_image(torch.zeros(1, 3, size, size))
        text = towers.encode_text(tokenizer(["a"]))
    towers.train(was_training)
    return image, text
