"""What all towers offer, wherever they come from: a pair, a joint model, or one alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmcl.batch import TokenBatch
from mmcl.errors import UserError
from mmcl.text.tokenizer import TextTokenizer
from mmcl.towers.preprocessing import ImagePreprocessing

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, Modality] = ("image", "text")
Output = tuple[Tensor, Tensor]
"""Features ``(B, W)`` and their projection ``(B, D)``."""


class Towers(nn.Module, ABC):
    """An image encoder and a text encoder that end in one space, or one of the two.

    Attributes:
        modalities: which of the two there are.
        embedding_dim: D, the width of the shared space; of a lone tower, that of its features.
        image_dim: width of the image tower's features, before the projection; 0 where there is no image tower.
        text_dim: width of the text tower's features, before the projection; 0 where there is no text tower.
        skips_padding: columns that are padding in all rows of a batch of texts may be cut off, which changes no
            embedding, and saves what it would take to compute them.
        probe_inputs: per modality, the smallest input that the tower takes; filled in by `probe`.
    """

    modalities: tuple[Modality, ...] = MODALITIES
    embedding_dim: int
    image_dim: int
    text_dim: int
    skips_padding: bool = False
    probe_inputs: Mapping[Modality, Tensor | TokenBatch]

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> Output:
        """Return features ``(B, W)`` and their projection ``(B, D)``, not normalised, of ``(B, 3, H, W)`` pixels.

        Raises:
            UserError: there is no image tower.
        """

    @abstractmethod
    def encode_text(self, tokens: TokenBatch) -> Output:
        """Return features ``(B, W)`` and their projection ``(B, D)``, not normalised.

        Raises:
            UserError: there is no text tower.
        """

    @abstractmethod
    def reset(self) -> None:
        """Draw all weights as the architecture starts them, from torch's generator.

        Raises:
            UserError: the architecture cannot be built again.
        """

    def keep_text_head(self) -> None:
        """Add a head that stays at export, from which text embeddings are taken from now on.

        Raises:
            UserError: these towers have no place for it.
        """
        raise UserError(
            "a kept head (supervised SimCSE's) needs a transformers text model alone, model: {text: ...}, because the"
            " head is the model's last layer at test time; keep no head in a model that also encodes pictures"
        )

    def text_backbone(self) -> PreTrainedModel:
        """Return the model whose ``last_hidden_state`` text features are pooled from.

        Raises:
            UserError: these towers have none.
        """
        raise UserError("masked language modelling (mlm) needs a transformers text model, alone or in a pair")

    def require(self, modality: Modality) -> None:
        """Refuse a modality that there is no tower for.

        Raises:
            UserError: saying which there is.
        """
        if modality not in self.modalities:
            raise UserError(
                f"the model has no {modality} tower: it is a model of {self.modalities[0]}s alone; a recipe gives it"
                f" one as model.{modality}"
            )


@dataclass(frozen=True)
class LoadedTowers:
    """Towers with what belongs to them.

    Attributes:
        towers: the encoders, with unused parameters frozen.
        preprocessing: what pictures go through; None where there is no image tower.
        tokenizer: what texts go through; None where there is no text tower.
        log_scale: ln(1 / temperature) of the checkpoint; None where it has none.
        logit_bias: SigLIP's bias of the checkpoint; None where it has none.
        origin: what they were made from, for the model card.
    """

    towers: Towers
    preprocessing: ImagePreprocessing | None
    tokenizer: TextTokenizer | None
    log_scale: float | None
    logit_bias: float | None
    origin: str


def take_weights(model: nn.Module, fresh: nn.Module) -> None:
    """Copy into ``model`` its parameters and buffers from ``fresh``, which may have more (a pooler, a temperature)."""
    state = fresh.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})


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


def freeze_unused(towers: Towers, outputs: Mapping[Modality, Output]) -> None:
    """Freeze parameters that no embedding depends on, such as a pooler that another pooling leaves unused.

    A trained parameter without a gradient would stop DistributedDataParallel, and would count as trained.

    Args:
        towers: changed in place.
        outputs: what `probe` returned.
    """
    used: set[int] = set()
    for _, projected in outputs.values():
        used |= parameters_behind(projected)
    for parameter in towers.parameters():
        if id(parameter) not in used:
            parameter.requires_grad_(False)


def probe(towers: Towers, size: int | None, tokenizer: TextTokenizer | None) -> dict[Modality, Output]:
    """Return what the towers make of a grey picture and a short text, with its autograd graph.

    Args:
        towers: they remember the picture and the text as their ``probe_inputs``.
        size: side of the picture in pixels; None where there is no image tower.
        tokenizer: of the text; None where there is no text tower.
    """
    inputs: dict[Modality, Tensor | TokenBatch] = {}
    if size is not None:
        inputs["image"] = torch.zeros(1, 3, size, size)
    if tokenizer is not None:
        inputs["text"] = tokenizer(["a"])
    towers.probe_inputs = inputs
    outputs = {modality: probe_one(towers, modality) for modality in inputs}
    # All of them: transformers hands over what it has loaded in evaluation mode.
    towers.train(towers.training)
    return outputs


def probe_one(towers: Towers, modality: Modality) -> Output:
    """Return what one tower makes of its probe input, in evaluation mode, with its autograd graph."""
    reference = next(towers.parameters())
    given = towers.probe_inputs[modality]
    with in_evaluation_mode(towers), torch.enable_grad():
        if isinstance(given, TokenBatch):
            return towers.encode_text(given.to(reference.device))
        return towers.encode_image(given.to(reference))


@contextmanager
def in_evaluation_mode(towers: Towers) -> Iterator[None]:
    """Let every module be in evaluation mode inside the block, and in its former mode afterwards."""
    modes = {module: module.training for module in towers.modules()}
    towers.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
