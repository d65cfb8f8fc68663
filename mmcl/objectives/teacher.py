"""A frozen model that a student learns from, with the inputs that it takes itself."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.errors import UserError
from mmcl.model import TwoTower, build_model
from mmcl.objectives.views import Modality, modality_of, number_of
from mmcl.recipe_model import ModelConfig

if TYPE_CHECKING:
    from mmcl.batch import PairBatch, TokenBatch


class Teacher:
    """A model in evaluation mode, without a gradient.

    On purpose no module: its weights are in no checkpoint, optimiser, count of parameters or export, and nothing brings
    it into training mode. A run that is resumed builds it again, from the same name or from the same start.

    It sees the very pictures that the student sees, crop and flip included (arXiv:2106.05237), scaled to its own size
    and normalised by its own mean and deviation; texts are cut into its own tokens, behind its own default prompt.
    Where it would cut them as the student does, it takes the student's tokens, prompts of the recipe included.

    Args:
        model: the teacher; a copy of the student, or a model of its own.
        student: whose tokens it takes where their tokenizers and default prompts are the same.
    """

    def __init__(self, model: TwoTower, student: TwoTower) -> None:
        self.model = model.requires_grad_(False).eval()
        mine, its = model.tokenizer, student.tokenizer
        is_the_same = mine is None or its is None or mine.fingerprint() == its.fingerprint()
        self.shares_tokens = is_the_same and model.prompts.before([""]) == student.prompts.before([""])

    @classmethod
    def of(cls, name: str | None, student: TwoTower) -> Teacher:
        """Load a teacher; without a name, take a copy of the student as it is now.

        Raises:
            UserError: there is no such model.
        """
        if name is None:
            return cls(deepcopy(student), student)
        try:
            return cls(build_model(ModelConfig(name=name)), student)
        except UserError as error:
            raise UserError(f"distillation.teacher: {error}") from error

    @property
    def scale(self) -> Tensor:
        """Its 1 / temperature, a float32 scalar."""
        return self.model.logit_scale()

    def require(self, modality: Modality) -> None:
        """Refuse a modality that it has no tower for.

        Raises:
            UserError: saying which there is.
        """
        found = self.model.towers.modalities
        if modality not in found:
            raise UserError(f"distillation.teacher: it has no {modality} tower, it is a model of {found[0]}s alone")

    def follow(self, student: TwoTower) -> None:
        """Go to the device of the student, and to its precision."""
        mine, its = self.model.logit_scale.log_scale, student.logit_scale.log_scale
        if (mine.device, mine.dtype) != (its.device, its.dtype):
            self.model.to(its)

    @torch.no_grad()
    def encode(self, batch: PairBatch, view: str) -> Tensor:
        """Return ``(n, E)`` of unit norm, a row for each row of the batch that has the view."""
        number = number_of(view)
        if modality_of(view) == "image":
            pixels = batch.images[number]
            return self._encode_image(pixels) if len(pixels) else self._nothing()
        tokens = batch.texts[number]
        return self.model.encode_text(self._tokens(tokens)).embeddings if len(tokens) else self._nothing()

    def _encode_image(self, pixels: Tensor) -> Tensor:
        assert self.model.preprocessing is not None
        size = self.model.preprocessing.size
        if pixels.shape[-1] != size:
            scaled = F.interpolate(pixels.float(), (size, size), mode="bicubic", antialias=True)
            pixels = scaled.round_().clamp_(0, 255).to(torch.uint8)
        return self.model.encode_image(pixels).embeddings

    def _tokens(self, tokens: TokenBatch) -> TokenBatch:
        if self.shares_tokens:
            return tokens
        assert self.model.tokenizer is not None
        assert tokens.strings is not None  # the loader keeps them
        return self.model.tokenizer(self.model.prompts.before(tokens.strings)).to(tokens.input_ids.device)

    def _nothing(self) -> Tensor:
        # Attention does not take a batch of no rows.
        return self.scale.new_zeros(0, self.model.embedding_dim)
