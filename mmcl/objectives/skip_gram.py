"""Skip-gram with negative sampling: static token vectors (arXiv:1310.4546)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmcl.distributed import RowSizes
from mmcl.errors import UserError
from mmcl.losses.skip_gram import skip_gram_loss
from mmcl.objectives.objective import DataFacts, EncodedBatch, Objective, ObjectiveOutput
from mmcl.objectives.views import number_of
from mmcl.text.tokenizer import HuggingFaceTokenizer
from mmcl.towers.static import StaticTower

if TYPE_CHECKING:
    from mmcl.batch import TokenBatch
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.words import SkipGramConfig


class SkipGramObjective(Objective):
    """Each token of a text against the tokens near it, and against noise.

    The centre's vector v is a row of the static tower's table, which is exported; the context's u is one of a table of
    this objective's own, zero at the start as in word2vec, and dropped at export. The loss is a mean over the pairs
    of all processes. Special tokens and padding are neither centres nor contexts, and windows reach over them.

    Deviation from word2vec: a noise token that is the true context is not skipped but drawn anew, so that every pair
    has exactly K negatives and the loss starts at (1 + K) ln 2. Draws come from torch's global generator of the device.
    Gradients are dense, so a step of the optimiser goes over both tables whole.

    Args:
        config: its fields.
        model: with a static text tower.
        facts: with the counts of the training source's tokens.

    Attributes:
        contexts: ``contexts.weight`` is ``(V, D)``, the vectors u.
        noise: ``(V,)`` float64, ``count ** noise_power``, not normalised; 0 for special tokens and those never seen.
        kept: ``(V,)`` float64, with which probability a token is kept; 0 for special tokens.

    Raises:
        UserError: another text tower, no counts, or no token in the source.
    """

    reads_tokens: ClassVar[bool] = True
    noise: Tensor
    kept: Tensor

    def __init__(self, config: SkipGramConfig, model: TwoTower, facts: DataFacts) -> None:
        super().__init__()
        self.views, self.window, self.num_negatives = config.views, config.window, config.num_negatives
        # In a tuple, which hides it from torch: the table is the model's parameter, not this module's as well.
        self._tower = (_static_tower(model),)
        num_tokens, dim = self._tower[0].embedding.weight.shape
        counts, is_special = _counts(facts, num_tokens), _special(model, num_tokens)
        counts[is_special] = 0
        if not bool(counts.any()):
            raise UserError("skip_gram learns from tokens, and the training texts have none but special ones")
        self.register_buffer("noise", noise_weights(counts, config.noise_power))
        self.register_buffer("kept", keep_probabilities(counts, config.subsample).masked_fill(is_special, 0))
        self.contexts = nn.Embedding(num_tokens, dim)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        tokens, texts = self.draw_tokens(encoded.batch.texts[number_of(self.views[0])])
        places, context_places = draw_pairs(texts, self.window)
        centres, contexts = tokens[places], tokens[context_places]
        negatives, excluded = draw_negatives(contexts, self.noise, self.num_negatives)
        pairs = RowSizes.of(len(centres), centres.device)
        loss = skip_gram_loss(
            # Their backward is several times that of indexing as fast.
            F.embedding(centres, self._tower[0].embedding.weight),
            self.contexts(contexts),
            self.contexts(negatives),
            excluded=excluded,
            across=pairs,
        )
        # Zero vectors give every pair and every negative a probability of one half.
        chance = (1 + self.num_negatives) * math.log(2) if pairs.total else None
        return ObjectiveOutput(loss, chance, rows.across.total)

    def draw_tokens(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Return the tokens that subsampling leaves of a batch.

        Returns:
            ``(T,)`` int64 token ids, text after text, and ``(T,)`` int64 the row each is of.
        """
        ids = batch.input_ids
        # In float64, so that a probability of 1 is 1: what is drawn is always less.
        is_kept = torch.rand(ids.shape, dtype=torch.float64, device=ids.device) < self.kept[ids]
        texts, places = (is_kept & batch.attention_mask.bool()).nonzero(as_tuple=True)
        return ids[texts, places], texts


def draw_pairs(texts: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Pair every token with those of its text at most b places away, b drawn for each token uniformly from 1 to window.

    Args:
        texts: ``(T,)`` int64 the text that each token is of, ascending.
        window: the largest b.

    Returns:
        The places of the centres and of the contexts, ``(n,)`` int64 each; centres ascend.
    """
    reach = torch.randint(1, window + 1, texts.shape, device=texts.device)
    offsets = torch.arange(-window, window + 1, device=texts.device)
    offsets = offsets[offsets != 0]
    places = torch.arange(len(texts), device=texts.device)[:, None] + offsets
    is_inside = (places >= 0) & (places < len(texts)) & (offsets.abs() <= reach[:, None])
    centres, numbers = is_inside.nonzero(as_tuple=True)
    contexts = places[centres, numbers]
    is_same_text = texts[centres] == texts[contexts]
    return centres[is_same_text], contexts[is_same_text]


def draw_negatives(contexts: Tensor, noise: Tensor, num_negatives: int) -> tuple[Tensor, Tensor]:
    """Draw noise tokens for each pair, with replacement, from all but its true context.

    Args:
        contexts: ``(n,)`` int64, the true ones.
        noise: ``(V,)`` float64 weights that noise is drawn in proportion to.
        num_negatives: K.

    Returns:
        ``(n, K)`` int64 tokens, and ``(n, K)`` bool: draws that do not count, because no other token has any weight.
    """
    until, own = noise.cumsum(0), noise[contexts, None]
    drawn = torch.rand(len(contexts), num_negatives, dtype=noise.dtype, device=noise.device) * (until[-1] - own)
    # The true context's stretch of the line is stepped over: one draw instead of trying until it is another token.
    drawn = drawn + own * (drawn >= until[contexts, None] - own)
    negatives = torch.searchsorted(until, drawn, right=True).clamp(max=len(noise) - 1)
    # By weight as well: of a context that has all of it, the draw may have been rounded past it.
    return negatives, (negatives == contexts[:, None]) | (noise[negatives] == 0)


def noise_weights(counts: Tensor, power: float) -> Tensor:
    """Return ``count ** power`` as ``(V,)`` float64, 0 for what never occurs, whatever the power."""
    return counts.double().pow(power) * (counts > 0)


def keep_probabilities(counts: Tensor, threshold: float) -> Tensor:
    """Return ``min(1, sqrt(threshold / f))`` as ``(V,)`` float64 (arXiv:1310.4546, equation 5).

    Args:
        counts: ``(V,)`` int64; f is a token's share of their sum.
        threshold: 0 keeps everything.
    """
    if threshold == 0:
        return torch.ones_like(counts, dtype=torch.float64)
    # What never occurs has infinite odds, and is kept.
    return (threshold * counts.sum() / counts.double()).sqrt().clamp(max=1)


def _static_tower(model: TwoTower) -> StaticTower:
    if not isinstance(model.towers, StaticTower):
        raise UserError(
            f"skip_gram learns a table of token vectors, and the text tower of {model.origin} is none; "
            "give model: {text: {config: {model_type: static, embedding_dim: 100}, tokenizer: ...}}"
        )
    return model.towers


def _counts(facts: DataFacts, num_tokens: int) -> Tensor:
    """Return the counts, ``(V,)`` int64."""
    if facts.count_tokens is None:
        raise UserError("skip_gram draws noise by the counts of the training tokens, and there is nothing to count")
    counts = facts.count_tokens()
    if len(counts) > num_tokens:
        raise UserError(f"the training texts have token ids up to {len(counts) - 1}, the table rows for {num_tokens}")
    return F.pad(counts, (0, num_tokens - len(counts)))


def _special(model: TwoTower, num_tokens: int) -> Tensor:
    """Return ``(V,)`` bool."""
    assert isinstance(model.tokenizer, HuggingFaceTokenizer)
    is_special = torch.zeros(num_tokens, dtype=torch.bool)
    is_special[model.tokenizer.backend.all_special_ids] = True
    return is_special
