"""Weights drawn anew: what the untrained baseline is made of."""

from __future__ import annotations

import pytest
import torch

from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_tuning import LoRAConfig
from mmcl.towers.layers import layers_of
from mmcl.towers.lora import add_lora, merged
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair, scramble

NAMES = ["lone-timm", "lone-dinov2", "lone-bert", "vit-bert", "timm-clip", "clip", "siglip", "open_clip"]


def config_of(name: str, tokenizer: str, open_clip_name: str) -> ModelConfig:
    if name == "open_clip":
        return ModelConfig(name=open_clip_name, pretrained=False)
    if name in ("clip", "siglip"):
        return joint(name, tokenizer)
    return {
        "lone-timm": lone_image(tiny.TIMM_RESNET),
        "lone-dinov2": lone_image(tiny.DINOV2),
        "lone-bert": lone_text(tiny.BERT, tokenizer),
        "vit-bert": pair(tiny.VIT, tiny.BERT, tokenizer),
        "timm-clip": pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer),
    }[name]


def reset(model: TwoTower, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.towers.reset()


@pytest.mark.parametrize("name", NAMES)
def test_weights_drawn_anew_are_those_of_a_fresh_build(name: str, tokenizer: str, open_clip_name: str) -> None:
    config = config_of(name, tokenizer, open_clip_name)
    fresh, model = build_model(config, seed=5), build_model(config)
    scramble(model)
    reset(model, seed=5)
    expected = fresh.towers.state_dict()
    assert model.towers.state_dict().keys() == expected.keys()
    for key, tensor in model.towers.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


def test_a_table_of_token_vectors_is_drawn_anew(tokenizer: str) -> None:
    model = build_model(lone_text(tiny.STATIC, tokenizer))
    scramble(model)
    reset(model, seed=0)
    assert 0.4 / 6 < model.towers.embedding.weight.abs().max() < 0.5 / 6


def test_a_kept_head_is_drawn_anew(tokenizer: str) -> None:
    model = build_model(lone_text(tiny.BERT, tokenizer))
    model.keep_text_head()
    scramble(model)
    reset(model, seed=0)
    (head,) = model.towers.head
    assert head.linear.bias.abs().max() == 0
    assert head.linear.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_a_merged_model_is_drawn_anew_whatever_its_updates(tokenizer: str) -> None:
    config = pair(tiny.VIT, tiny.BERT, tokenizer)
    model = build_model(config)
    add_lora(model.towers, layers_of(model.towers, "image").blocks, LoRAConfig(), 0)
    copy = merged(model)
    reset(copy, seed=5)
    for key, tensor in build_model(config, seed=5).towers.state_dict().items():
        assert torch.equal(copy.towers.state_dict()[key], tensor), key
