"""One tower alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmcl.batch import TokenBatch
from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.towers.pooling import pool_text
from mmcl.towers.single import SingleTower, build_single
from mmcl.towers.towers import LoadedTowers
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import lone_image, lone_text, pair

PIXELS = torch.rand(3, 3, 32, 32)
TEXTS = ["alpha", "a greek letter", "one two black white"]


def tower_of(loaded: LoadedTowers) -> SingleTower:
    assert isinstance(loaded.towers, SingleTower)
    return loaded.towers.eval()


@pytest.mark.parametrize(
    ("config", "pooling", "dim"),
    [
        (tiny.VIT, "mean", 16),
        (tiny.CLIP_VISION, "pooler", 16),
        (tiny.CONVNEXT, "pooler", 16),
        (tiny.RESNET, "flattened_pooler", 16),
        (tiny.TIMM_RESNET, "pooler", 24),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else None,
)
def test_the_embedding_of_pictures_is_their_features(config: dict[str, Any], pooling: str, dim: int) -> None:
    loaded = build_single(lone_image(config).image)
    tower = tower_of(loaded)
    features, projected = tower.encode_image(PIXELS)
    assert projected is features
    assert features.shape == (3, dim)
    assert tower.pooling == pooling
    assert (tower.embedding_dim, tower.image_dim, tower.text_dim) == (dim, dim, 0)
    assert loaded.tokenizer is None


@pytest.mark.parametrize("pooling", ["cls", "mean", "last", "pooler"])
def test_the_embedding_of_texts_is_their_features(tokenizer: str, pooling: str) -> None:
    loaded = build_single(lone_text(tiny.BERT, tokenizer, pooling=pooling).text)
    tower = tower_of(loaded)
    tokens = loaded.tokenizer(TEXTS)
    features, projected = tower.encode_text(tokens)
    assert projected is features
    output = tower.backbone(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    torch.testing.assert_close(features, pool_text(output, tokens.attention_mask, pooling))
    assert (tower.embedding_dim, tower.image_dim, tower.text_dim) == (16, 0, 16)
    assert loaded.preprocessing is None


def test_a_lone_tower_is_the_same_tower_as_in_a_pair(tokenizer: str) -> None:
    both = build_model(pair(tiny.VIT, tiny.BERT, tokenizer), seed=3).towers.image_model.state_dict()
    alone = build_model(lone_image(tiny.VIT), seed=3).towers.backbone.state_dict()
    assert all(torch.equal(both[name], alone[name]) for name in both)


def test_the_other_modality_is_refused(tokenizer: str) -> None:
    image, text = build_single(lone_image(tiny.VIT).image), build_single(lone_text(tiny.BERT, tokenizer).text)
    with pytest.raises(UserError, match=r"has no text tower: it is a model of images alone; .* as model.text"):
        image.towers.encode_text(TokenBatch(torch.ones(1, 1).long(), torch.ones(1, 1).long()))
    with pytest.raises(UserError, match=r"has no image tower: it is a model of texts alone; .* as model.image"):
        text.towers.encode_image(PIXELS)


def test_a_kept_head_makes_the_embedding_of_the_features(tokenizer: str) -> None:
    loaded = build_single(lone_text(tiny.BERT, tokenizer).text)
    tower, tokens = tower_of(loaded), loaded.tokenizer(TEXTS)
    before = tower.encode_text(tokens)[0]
    tower.keep_text_head()
    features, projected = tower.encode_text(tokens)
    assert torch.equal(features, before)
    linear = tower.head[0].linear
    torch.testing.assert_close(projected, torch.tanh(features @ linear.weight.T + linear.bias))
    assert not torch.allclose(projected, features)
    assert tower.embedding_dim == projected.shape[1] == 16


def test_a_kept_head_starts_as_berts_pooler_does(tokenizer: str) -> None:
    config = {**tiny.BERT, "hidden_size": 64}
    tower = tower_of(build_single(lone_text(config, tokenizer).text))
    tower.keep_text_head()
    linear = tower.head[0].linear
    assert 0.018 < linear.weight.std().item() < 0.022
    assert linear.weight.shape == (64, 64)
    assert not linear.bias.any()
    assert linear.weight.requires_grad
    assert linear.bias.requires_grad


def test_a_head_is_kept_once(tokenizer: str) -> None:
    model = build_model(lone_text(tiny.BERT, tokenizer))
    model.keep_text_head()
    head = model.towers.head
    weight = head[0].linear.weight.clone()
    model.keep_text_head()
    assert model.towers.head is head
    assert torch.equal(head[0].linear.weight, weight)


def test_a_head_has_the_precision_and_mode_of_its_tower(tokenizer: str) -> None:
    tower = tower_of(build_single(lone_text(tiny.BERT, tokenizer).text)).double()
    tower.keep_text_head()
    assert tower.head[0].linear.weight.dtype == torch.float64
    assert not tower.head.training


@pytest.mark.parametrize("name", ["image", "pair"])
def test_only_a_text_model_alone_keeps_a_head(tokenizer: str, name: str) -> None:
    config = lone_image(tiny.VIT) if name == "image" else pair(tiny.VIT, tiny.BERT, tokenizer)
    with pytest.raises(UserError, match=r"a kept head .* needs a transformers text model alone, model: {text: \.\.\.}"):
        build_model(config).keep_text_head()


@pytest.mark.parametrize("name", ["dinov2", "bert-head"])
def test_every_trained_parameter_has_a_gradient(tokenizer: str, name: str) -> None:
    if name == "dinov2":
        tower = build_single(lone_image(tiny.DINOV2).image).towers
        tower.encode_image(PIXELS)[1].sum().backward()
    else:
        loaded = build_single(lone_text(tiny.BERT, tokenizer, pooling="cls").text)
        tower = loaded.towers
        tower.keep_text_head()
        tower.encode_text(loaded.tokenizer(TEXTS))[1].sum().backward()
    frozen = {name for name, parameter in tower.named_parameters() if not parameter.requires_grad}
    assert frozen == ({"backbone.embeddings.mask_token"} if name == "dinov2" else set())
    assert all(p.grad is not None for p in tower.parameters() if p.requires_grad)
