"""Masked language modelling beside a contrastive loss (arXiv:1810.04805; SimCSE, arXiv:2104.08821, appendix)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from mmcl.batch import TokenBatch
from mmcl.distributed import RowSizes
from mmcl.errors import UserError
from mmcl.objectives.masking import TokenMasker
from mmcl.objectives.objective import DataFacts, EncodedBatch, Objective, ObjectiveOutput
from mmcl.text.tokenizer import HuggingFaceTokenizer
from mmcl.towers.towers import in_evaluation_mode

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.words import MLMConfig

HEAD_STD = 0.02
"""BERT's initialisation."""


class MLMObjective(Objective):
    """The text model predicts masked tokens, in a pass of its own over the captions.

    The loss is the cross-entropy over the vocabulary, a mean over the masked tokens of all processes. The head that
    predicts is BERT's, its last layer tied to the model's token embeddings; the rest of it is this objective's own, and
    dropped at export. Dropout comes from torch's generator, as in any pass.

    Args:
        config: its fields.
        model: with a transformers text model, alone or in a pair.
        facts: with the seed.

    Raises:
        UserError: another text tower, one whose tokens do not see those after them, or no token to mask with.
    """

    reads_tokens: ClassVar[bool] = True

    def __init__(self, config: MLMConfig, model: TwoTower, facts: DataFacts) -> None:
        super().__init__()
        self.views = config.views
        backbone, tokenizer = model.towers.text_backbone(), model.tokenizer
        # In a tuple, which hides them from torch: they are the model's parameters, not this module's as well.
        self._towers, self._backbone = (model.towers,), (backbone,)
        assert isinstance(tokenizer, HuggingFaceTokenizer)
        num_tokens, width = _embeddings_of(backbone).shape
        self.masker = TokenMasker(tokenizer.backend, num_tokens, config.mask_token, config.mlm_probability, facts.seed)
        self.head = MaskedTokenHead(model.towers.text_dim, width, num_tokens)
        self._refuse_causal(model.origin)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views, ())
        tokens, owners = encoded.batch.texts[0], encoded.batch.rows_of("text.0")
        sample_ids = encoded.batch.sample_ids if owners is None else encoded.batch.sample_ids[owners]
        ids, is_masked = self.masker(tokens, sample_ids, encoded.progress.step)
        masked = RowSizes.of(int(is_masked.sum()), ids.device)
        with encoded.in_tower_precision():
            states = self._states(TokenBatch(ids, tokens.attention_mask))
        scores = self.head(states[is_masked] if len(tokens) else states[:0, 0], _embeddings_of(self._backbone[0]))
        # A sum, so that a process without a masked token has a share of 0 and not of 0 / 0.
        loss = F.cross_entropy(scores, tokens.input_ids[is_masked], reduction="sum") / max(masked.total, 1)
        chance = math.log(scores.shape[1]) if masked.total else None
        return ObjectiveOutput(loss, chance, rows.across.total)

    def _states(self, tokens: TokenBatch) -> Tensor:
        """Return ``(B, L, W)``; without a text those of another, for the parameters' gradients, which are then 0."""
        if len(tokens):
            return self._last_states(tokens)
        example = self._towers[0].probe_inputs["text"]
        assert isinstance(example, TokenBatch)
        return self._last_states(example.to(tokens.input_ids.device))

    def _last_states(self, tokens: TokenBatch) -> Tensor:
        output = self._backbone[0](input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        states: Tensor = output.last_hidden_state
        return states

    @torch.no_grad()
    def _refuse_causal(self, name: str) -> None:
        """Tried, not looked up: each family says in its own way which tokens see which."""
        first, second = self.masker.ordinary[:2].tolist()
        ids = torch.tensor([[first, first], [first, second]])
        with in_evaluation_mode(self._towers[0]):
            one, other = self._last_states(TokenBatch(ids, torch.ones_like(ids)))[:, 0]
        if torch.allclose(one, other, rtol=1e-4, atol=1e-6):
            raise UserError(
                f"mlm needs a text model that reads both ways; in {name} a token sees none of those after it"
            )


class MaskedTokenHead(nn.Module):
    """BERT's head: a linear layer, GELU, layer norm, then the token embeddings as weights, and a bias.

    Args:
        width: of the model's states.
        embedding_width: of its token embeddings.
        num_tokens: V.
    """

    def __init__(self, width: int, embedding_width: int, num_tokens: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, embedding_width)
        nn.init.normal_(self.dense.weight, std=HEAD_STD)
        nn.init.zeros_(self.dense.bias)
        self.norm = nn.LayerNorm(embedding_width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(num_tokens))

    def forward(self, states: Tensor, embeddings: Tensor) -> Tensor:
        """Return ``(m, V)`` scores of ``(m, W)`` states, in the precision of the weights."""
        hidden = self.norm(F.gelu(self.dense(states.to(self.bias.dtype))))
        return F.linear(hidden, embeddings, self.bias)


def _embeddings_of(backbone: PreTrainedModel) -> Tensor:
    weight: Tensor = backbone.get_input_embeddings().weight
    return weight
