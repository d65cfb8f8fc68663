from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcl.batch import TokenBatch
from mmcl.text.tokenizer import TextTokenizer
from mmcl.towers.towers import Towers, freeze_unused, parameters_behind, probe


class Half(Towers):
    """Uses two of its three layers, and drops out while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.unused = nn.Linear(3, 64), nn.Embedding(5, 64), nn.Linear(2, 2)
        self.dropout = nn.Dropout(0.5)

    def reset(self) -> None:
        raise NotImplementedError

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.dropout(self.image(pixels.mean((2, 3)) + 1))
        return rows, rows

    def encode_text(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        rows = self.text(tokens.input_ids).mean(1)
        return rows, rows


class OneToken(TextTokenizer):
    def __call__(self, texts: object) -> TokenBatch:
        return TokenBatch(torch.tensor([[1]]), torch.tensor([[1]]))

    def count_too_long(self, texts: object) -> int:
        return 0

    def save(self, folder: object) -> None: ...

    def fingerprint(self) -> str:
        return ""


def test_parameters_behind_are_those_of_the_graph() -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    output = one(torch.ones(1, 2)).detach() + two(torch.ones(1, 2)).relu()
    assert parameters_behind(output) == {id(parameter) for parameter in two.parameters()}


def test_unused_parameters_are_frozen_and_the_mode_is_kept() -> None:
    towers = Half().train()
    freeze_unused(towers, probe(towers, 4, OneToken()))
    frozen = {name for name, parameter in towers.named_parameters() if not parameter.requires_grad}
    assert frozen == {"unused.weight", "unused.bias"}
    assert towers.training


def test_probing_draws_no_dropout() -> None:
    towers = Half().train()
    first, second = (probe(towers, 4, OneToken())["image"][1] for _ in range(2))
    assert torch.equal(first, second)
