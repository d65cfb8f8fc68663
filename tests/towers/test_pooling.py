from __future__ import annotations

from types import SimpleNamespace

import torch

from mmcl.towers.pooling import pool_image, pool_text

STATES = torch.arange(24.0).reshape(2, 3, 4)
MASK = torch.tensor([[1, 1, 0], [0, 1, 1]])


def text(pooling: str) -> torch.Tensor:
    return pool_text(SimpleNamespace(last_hidden_state=STATES, pooler_output=STATES.sum(1)), MASK, pooling)


def test_text_mean_is_over_real_tokens() -> None:
    assert torch.equal(text("mean"), torch.stack([STATES[0, :2].mean(0), STATES[1, 1:].mean(0)]))


def test_text_cls_is_the_first_real_token() -> None:
    assert torch.equal(text("cls"), torch.stack([STATES[0, 0], STATES[1, 1]]))


def test_text_last_is_the_last_real_token() -> None:
    assert torch.equal(text("last"), torch.stack([STATES[0, 1], STATES[1, 2]]))


def test_text_max_is_over_real_tokens() -> None:
    assert torch.equal(text("max"), torch.stack([STATES[0, 1], STATES[1, 2]]))
    falling = SimpleNamespace(last_hidden_state=-STATES, pooler_output=None)
    assert torch.equal(pool_text(falling, MASK, "max"), torch.stack([-STATES[0, 0], -STATES[1, 1]]))


def test_text_pooler_is_the_models_own() -> None:
    assert torch.equal(text("pooler"), STATES.sum(1))


def test_image_tokens_and_maps_are_pooled_alike() -> None:
    as_map = STATES.transpose(1, 2).reshape(2, 4, 3, 1)
    tokens = SimpleNamespace(last_hidden_state=STATES)
    assert torch.equal(pool_image(tokens, "mean"), STATES.mean(1))
    assert torch.equal(pool_image(SimpleNamespace(last_hidden_state=as_map), "mean"), STATES.mean(1))
    assert torch.equal(pool_image(tokens, "cls"), STATES[:, 0])


def test_a_flattened_pooler_loses_its_empty_dimensions() -> None:
    output = SimpleNamespace(last_hidden_state=None, pooler_output=STATES[:, :, :1, None])
    assert torch.equal(pool_image(output, "flattened_pooler"), STATES[:, :, 0])
