from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmcl.batch import TokenBatch
from mmcl.data.hashing import mix
from mmcl.errors import UserError
from mmcl.objectives.masking import TokenMasker, draw_uniform, mask_token_id
from mmcl.text.tokenizer import load_tokenizer
from tests.tiny import SPECIAL, WORDS

NUM_TOKENS = len(SPECIAL + WORDS)
ENDS = (2, 3)
"""The ids of [BOS] and [EOS]."""


def texts(num_rows: int = 400, length: int = 50) -> TokenBatch:
    """Long texts with a start, an end, and padding behind that."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(SPECIAL), NUM_TOKENS, (num_rows, length), generator=generator)
    ids[:, 0], ids[:, -3], ids[:, -2:] = 2, 3, 0
    mask = torch.ones_like(ids)
    mask[:, -2:] = 0
    return TokenBatch(ids, mask)


def masker(tokenizer: str, **fields: object) -> TokenMasker:
    return TokenMasker(load_tokenizer(tokenizer), NUM_TOKENS, **{"seed": 5, **fields})  # type: ignore[arg-type]


def test_numbers_are_those_of_splitmix() -> None:
    """One of Python's unlimited integers, cut to 64 bits, says the same."""
    found = draw_uniform(3, torch.tensor([0, 7, 2**40]), 1)
    expected = [(mix(3, number, 1) >> 11) * 2.0**-53 for number in (0, 7, 2**40)]
    assert found.tolist() == expected


def test_shares_are_berts(tokenizer: str) -> None:
    batch = texts()
    ids, is_chosen = masker(tokenizer)(batch, torch.arange(400), step=0)
    ordinary = (batch.attention_mask.bool() & (batch.input_ids > 3)).sum()
    assert float(is_chosen.sum() / ordinary) == pytest.approx(0.15, abs=0.01)
    before, after = batch.input_ids[is_chosen], ids[is_chosen]
    assert float((after == 1).double().mean()) == pytest.approx(0.8, abs=0.02)
    # One in ten is drawn at random, and one in 14 of those is drawn as it was.
    assert float((after == before).double().mean()) == pytest.approx(0.1 + 0.1 / len(WORDS), abs=0.02)
    assert torch.equal(ids[~is_chosen], batch.input_ids[~is_chosen])
    drawn = after[(after != 1) & (after != before)]
    assert set(drawn.tolist()) == set(range(len(SPECIAL), NUM_TOKENS))


def test_special_tokens_and_padding_are_never_chosen(tokenizer: str) -> None:
    batch = texts()
    _, is_chosen = masker(tokenizer, probability=0.99)(batch, torch.arange(400), step=0)
    assert not is_chosen[:, [0, -3, -2, -1]].any()
    assert is_chosen[:, 1:-3].double().mean() > 0.98


def test_what_is_drawn_depends_on_seed_step_and_sample_alone(tokenizer: str) -> None:
    batch, samples = texts(8), torch.arange(100, 108)

    def drawn(rows: Tensor, step: int = 3, **fields: object) -> Tensor:
        found: Tensor = masker(tokenizer, **fields)(
            TokenBatch(batch.input_ids[rows], batch.attention_mask[rows]), samples[rows], step
        )[0]
        return found

    whole, order = drawn(torch.arange(8)), torch.tensor([5, 0, 7])
    assert torch.equal(drawn(order), whole[order])
    assert not torch.equal(drawn(torch.arange(8), step=4), whole)
    assert not torch.equal(drawn(torch.arange(8), seed=6), whole)
    assert not torch.equal(drawn(torch.zeros(1, dtype=torch.int64)), whole[1:2])


def test_padding_on_the_left_changes_nothing(tokenizer: str) -> None:
    batch, samples = texts(8), torch.arange(8)
    ids, _ = masker(tokenizer)(batch, samples, 0)
    left, _ = masker(tokenizer)(
        TokenBatch(batch.input_ids.roll(2, dims=1), batch.attention_mask.roll(2, dims=1)), samples, 0
    )
    assert torch.equal(left, ids.roll(2, dims=1))


def test_the_mask_token_is_the_tokenizers_else_its_unknown_one_else_the_named_one(tokenizer: str) -> None:
    backend = load_tokenizer(tokenizer)
    assert mask_token_id(backend, None) == SPECIAL.index("[UNK]")
    assert mask_token_id(backend, "alpha") == (SPECIAL + WORDS).index("alpha")
    backend.mask_token = "[EOS]"
    assert mask_token_id(backend, None) == SPECIAL.index("[EOS]")
    with pytest.raises(UserError, match=r'mlm\.mask_token: the tokenizer has no token "alpa". Did you mean "alpha"'):
        mask_token_id(backend, "alpa")
    backend.mask_token = backend.unk_token = None
    with pytest.raises(UserError, match="neither a mask token nor an unknown token; name one"):
        mask_token_id(backend, None)


def test_a_named_token_is_neither_predicted_nor_drawn(tokenizer: str) -> None:
    batch, named = texts(), (SPECIAL + WORDS).index("alpha")
    ids, is_chosen = masker(tokenizer, mask_token="alpha", probability=0.9)(batch, torch.arange(400), 0)
    assert not is_chosen[batch.input_ids == named].any()
    share = (ids[is_chosen] == named).double().mean()
    assert float(share) == pytest.approx(0.8, abs=0.01)
