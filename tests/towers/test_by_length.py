from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from mmcl.batch import TokenBatch
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers import by_length
from mmcl.towers.by_length import TOKENS_PER_PART_ON_CPU, cut_by_length, encode_by_length
from mmcl.towers.towers import Output, Towers
from tests.tiny import bert_alone, random_texts
from tests.towers.tiny_configs import joint


class SumOfTokens(Towers):
    """A text is the sum of its ids; remembers the shapes that it was given."""

    def __init__(self, skips_padding: bool = True) -> None:
        super().__init__()
        self.skips_padding = skips_padding
        self.shapes: list[tuple[int, int]] = []

    def reset(self) -> None:
        raise NotImplementedError

    def encode_image(self, pixels: Tensor) -> Output:
        raise NotImplementedError

    def encode_text(self, tokens: TokenBatch) -> Output:
        self.shapes.append((tokens.input_ids.shape[0], tokens.input_ids.shape[1]))
        features = (tokens.input_ids * tokens.attention_mask).sum(dim=1, keepdim=True)
        return features, -features


def padded(lengths: list[int], side: str = "right") -> TokenBatch:
    """Ones with twos for padding."""
    places = torch.arange(max(lengths))
    mask = (places < torch.tensor(lengths)[:, None]).long()
    mask = mask.flip(1) if side == "left" else mask
    return TokenBatch(2 - mask, mask)


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_come_back_in_order_from_parts_of_like_length(side: str) -> None:
    towers, lengths = SumOfTokens(), [40, 3, 39, 4, 3, 40]
    features, projected = encode_by_length(towers, padded(lengths, side))
    assert features[:, 0].tolist() == lengths
    assert projected[:, 0].tolist() == [-length for length in lengths]
    assert towers.shapes == [(3, 4), (3, 40)]


def test_what_is_padding_in_every_row_is_cut_off() -> None:
    towers, tokens = SumOfTokens(), padded([9, 10, 10, 10, 40])
    encode_by_length(towers, tokens.part(0, 4))
    assert towers.shapes == [(4, 10)]


def test_padding_amid_a_text_stays() -> None:
    towers, tokens = SumOfTokens(), padded([40, 3, 39, 4])
    tokens.attention_mask[0, 7] = 0
    encode_by_length(towers, tokens)
    assert towers.shapes == [(4, 40)]


def test_towers_of_texts_of_one_length_are_left_as_they_are() -> None:
    towers = SumOfTokens(skips_padding=False)
    encode_by_length(towers, padded([40, 3, 39, 4]))
    assert towers.shapes == [(4, 40)]


def test_a_gpu_is_not_waited_for_where_nothing_can_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_length, "_parts", None)
    monkeypatch.setattr(by_length, "TOKENS_PER_PART_ON_GPU", 160)
    tokens = padded([40, 3, 39, 4])
    towers = SumOfTokens()
    encode_by_length(towers, TokenBatch(tokens.input_ids.to("meta"), tokens.attention_mask.to("meta")))
    assert towers.shapes == [(4, 40)]


@pytest.mark.parametrize("part_cost", [0, 1, 5, 30])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_cuts_cost_less(part_cost: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (9,), generator=generator).sort().values.tolist()

    def cost(ends: list[int]) -> int:
        return sum((end - start) * lengths[end - 1] + part_cost for start, end in zip([0, *ends], ends, strict=False))

    every = [[*inner, 9] for count in range(9) for inner in combinations(range(1, 9), count)]
    assert cost(cut_by_length(lengths, part_cost)) == min(map(cost, every))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("num_passes", [1, 2])
def test_few_tokens_beside_the_real_ones_are_computed_of_sentences(seed: int, num_passes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Mean 16, up to 32, as sentences are spread.
    lengths = (torch.randn(64, generator=generator) * 6.5 + 16).round().clamp(4, 32).int()
    lengths = lengths.repeat(num_passes).sort().values
    ends = cut_by_length(lengths.tolist(), TOKENS_PER_PART_ON_CPU)
    computed = sum((end - start) * int(lengths[end - 1]) for start, end in zip([0, *ends], ends, strict=False))
    assert computed <= 1.15 * int(lengths.sum())
    assert len(ends) < 9


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_embeddings_are_those_of_the_whole_batch(tokenizer: str, pooling: str) -> None:
    text = bert_alone(tokenizer).text
    assert text is not None
    fields = {**text.model_dump(), "pooling": pooling}
    model = build_model(ModelConfig.model_validate({"text": fields})).double().eval()
    tokens = random_texts(30, torch.Generator().manual_seed(0), longest=31)
    calls = []
    model.towers.backbone.register_forward_pre_hook(lambda *call: calls.append(call))
    found, expected = model.encode_text(tokens), model.towers.encode_text(tokens)
    assert len(calls) > 2
    torch.testing.assert_close(found.features, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.projected, expected[1], rtol=1e-12, atol=1e-12)


def test_what_was_trained_with_its_padding_keeps_it(tokenizer: str) -> None:
    assert not build_model(joint("siglip", tokenizer)).towers.skips_padding
    assert build_model(joint("clip", tokenizer)).towers.skips_padding
