"""Which tokens of a text are masked, and by what: BERT's rule (arXiv:1810.04805, section 3.1), drawn anew each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmcl.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mmcl.batch import TokenBatch

MASKED, KEPT = 0.8, 0.1
"""Of the chosen tokens, how many become the mask token and how many stay; the rest become a random token."""

# SplitMix64's constants (Steele, Lea and Flood, 2014) as signed numbers, which wrap around all the same.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


class TokenMasker(nn.Module):
    """Chooses tokens to be predicted. Draws are a function of (seed, step, sample id, place in the text), so that they
    depend neither on how many processes there are nor on where a run was interrupted.

    Args:
        backend: the tokenizer; its special tokens are never chosen.
        num_tokens: V, rows of the model's embeddings.
        mask_token: what stands for a masked token; by default as `mask_token_id` has it.
        probability: share of the tokens that are chosen.
        seed: of the run.

    Raises:
        UserError: the tokenizer has no such token, or none that could stand for masked ones.
    """

    seed: Tensor
    is_special: Tensor
    ordinary: Tensor

    def __init__(
        self,
        backend: PreTrainedTokenizerBase,
        num_tokens: int,
        mask_token: str | None = None,
        probability: float = 0.15,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.mask_id, self.probability = mask_token_id(backend, mask_token), probability
        special = torch.zeros(num_tokens, dtype=torch.bool)
        special[[*backend.all_special_ids, self.mask_id]] = True
        ids = torch.tensor(sorted(backend.get_vocab().values()))
        self.register_buffer("seed", torch.tensor(seed))
        self.register_buffer("is_special", special, persistent=False)
        self.register_buffer("ordinary", ids[~special[ids]], persistent=False)

    def forward(self, tokens: TokenBatch, sample_ids: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return ``(B, L)`` int64 ids to be read instead, and ``(B, L)`` bool: which are to be predicted.

        Args:
            tokens: the texts.
            sample_ids: ``(B,)`` int64, of the row that each text is of.
            step: optimiser steps done.
        """
        ids, mask = tokens.input_ids, tokens.attention_mask
        # Counted from the first token, wherever the padding is.
        keys = (self.seed, step, sample_ids[:, None], mask.cumsum(dim=1))
        chance, lot, other = (draw_uniform(*keys, number) for number in range(3))
        is_chosen = (chance < self.probability) & mask.bool() & ~self.is_special[ids]
        random_ids = self.ordinary[(other * len(self.ordinary)).long()]
        read = torch.where(lot < MASKED, self.mask_id, torch.where(lot < 1 - KEPT, random_ids, ids))
        return torch.where(is_chosen, read, ids), is_chosen


def mask_token_id(backend: PreTrainedTokenizerBase, name: str | None) -> int:
    """Return the id of the token that stands for masked ones: the named one, else the mask token, else the unknown
    token, which a tokenizer with byte fallback makes of no text.

    Raises:
        UserError: there is none.
    """
    vocabulary = backend.get_vocab()
    if name is not None:
        if name not in vocabulary:
            raise UserError(f'mlm.mask_token: the tokenizer has no token "{name}".{did_you_mean(name, vocabulary)}')
        return int(vocabulary[name])
    for token in (backend.mask_token, backend.unk_token):
        if token is not None:
            return int(vocabulary[str(token)])
    raise UserError(
        "mlm needs a token that stands for masked ones, and the tokenizer has neither a mask token nor an unknown"
        " token; name one of its tokens that no text has, as mlm.mask_token"
    )


def draw_uniform(*keys: Tensor | int) -> Tensor:
    """Return float64 numbers in [0, 1) that depend on all of the keys and on their order; tensors are broadcast."""
    state: Tensor | int = 0
    for key in keys:
        state = _scramble((state ^ torch.as_tensor(key)) + _GAMMA)
    return _shifted(torch.as_tensor(state), 11).double() * 2.0**-53


def _scramble(state: Tensor) -> Tensor:
    state = (state ^ _shifted(state, 30)) * _FACTORS[0]
    state = (state ^ _shifted(state, 27)) * _FACTORS[1]
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, count: int) -> Tensor:
    """Shift to the right as if there were no sign."""
    return (state >> count) & ((1 << (64 - count)) - 1)
