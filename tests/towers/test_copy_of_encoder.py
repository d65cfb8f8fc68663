"""The frozen copy of one encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmcl.batch import TokenBatch
from mmcl.errors import UserError
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers.copy_of_encoder import copy_of_encoder
from mmcl.towers.towers import Modality, Towers, parameters_behind
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair, scramble

PIXELS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TEXTS = ["alpha", "a greek letter alpha beta", "two black"]
NAMES = [
    ("lone-timm", "image"),
    ("lone-dinov2", "image"),
    ("lone-bert", "text"),
    ("lone-head", "text"),
    ("static", "text"),
    ("vit-bert", "image"),
    ("vit-bert", "text"),
    ("mean-of-clip", "image"),
    ("timm-clip", "image"),
    ("clip", "image"),
    ("clip", "text"),
    ("siglip", "image"),
    ("siglip", "text"),
    ("chinese_clip", "image"),
    ("chinese_clip", "text"),
    ("altclip", "text"),
    ("open_clip", "image"),
    ("open_clip", "text"),
]


@pytest.fixture(scope="module")
def models(tokenizer: str, open_clip_name: str) -> dict[str, TwoTower]:
    configs = {
        "lone-timm": lone_image(tiny.TIMM_RESNET),
        "lone-dinov2": lone_image(tiny.DINOV2),
        "lone-bert": lone_text(tiny.BERT, tokenizer),
        "lone-head": lone_text(tiny.BERT, tokenizer),
        "static": lone_text(tiny.STATIC, tokenizer),
        "vit-bert": pair(tiny.VIT, tiny.BERT, tokenizer),
        # Its last layer norm is called for the pooler's sake, which the mean does not look at.
        "mean-of-clip": pair(tiny.CLIP_VISION, tiny.CLIP_TEXT, tokenizer, {"pooling": "mean"}),
        "timm-clip": pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer),
        "clip": joint("clip", tokenizer),
        "siglip": joint("siglip", tokenizer),
        "chinese_clip": joint("chinese_clip", tokenizer),
        "altclip": joint("altclip", tokenizer),
        "open_clip": ModelConfig(name=open_clip_name, pretrained=False),
    }
    built = {name: build_model(config) for name, config in configs.items()}
    built["lone-head"].keep_text_head()
    for model in built.values():
        scramble(model)
        model.eval()
    return built


def encode(towers: Towers, model: TwoTower, modality: Modality) -> tuple[Tensor, Tensor]:
    if modality == "image":
        return towers.encode_image(PIXELS)
    assert model.tokenizer is not None
    return towers.encode_text(model.tokenizer(TEXTS))


def num_weights(towers: Any) -> int:
    return sum(parameter.numel() for parameter in towers.parameters())


@pytest.mark.parametrize(("name", "modality"), NAMES)
def test_a_copy_encodes_the_same(models: dict[str, TwoTower], name: str, modality: Modality) -> None:
    model = models[name]
    copy = copy_of_encoder(model.towers, modality)
    assert not encode(copy, model, modality)[1].requires_grad
    # Attention takes another path where no gradient is wanted, and matrix products go by where in memory weights lie.
    with torch.no_grad():
        pairs = zip(encode(copy, model, modality), encode(model.towers, model, modality), strict=True)
    for mine, original in pairs:
        torch.testing.assert_close(mine, original, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "modality"), NAMES)
def test_a_copy_has_weights_of_its_own(models: dict[str, TwoTower], name: str, modality: Modality) -> None:
    model = models[name]
    expected = [rows.detach().clone() for rows in encode(model.towers, model, modality)]
    copy = copy_of_encoder(model.towers, modality)
    scramble(copy, seed=9)
    for mine, before, after in zip(
        encode(copy, model, modality), expected, encode(model.towers, model, modality), strict=True
    ):
        assert not torch.allclose(mine, before, atol=1e-3)
        assert torch.equal(after, before), "the original is untouched"


@pytest.mark.parametrize(("name", "modality"), NAMES)
def test_a_copy_holds_little_that_does_not_count(models: dict[str, TwoTower], name: str, modality: Modality) -> None:
    model = models[name]
    copy = copy_of_encoder(model.towers, modality)
    features, projected = encode(model.towers, model, modality)
    behind = parameters_behind(features) | parameters_behind(projected)
    names = {name for name, parameter in model.towers.named_parameters() if id(parameter) in behind}
    kept = {name for name, _ in copy.named_parameters()}
    # What is called stays, whether or not anything depends on it.
    spare = {
        "lone-dinov2": {"backbone.embeddings.mask_token"},
        "mean-of-clip": {f"image_model.post_layernorm.{part}" for part in ("weight", "bias")},
    }
    assert kept - names == spare.get(name, set())
    assert names <= kept
    other = {"image": "text", "text": "image"}[modality]
    if other in model.towers.modalities:
        assert num_weights(copy) < num_weights(model.towers)


@pytest.mark.parametrize(("name", "modality"), NAMES)
def test_names_are_those_of_the_original(models: dict[str, TwoTower], name: str, modality: Modality) -> None:
    towers = models[name].towers
    copy = copy_of_encoder(towers, modality)
    originals, buffers = dict(towers.named_parameters()), dict(towers.named_buffers())
    for key, parameter in copy.named_parameters():
        assert torch.equal(parameter, originals[key])
        assert parameter is not originals[key]
        assert not parameter.requires_grad
    for key, buffer in copy.named_buffers():
        assert torch.equal(buffer, buffers[key])


def test_the_original_keeps_its_gradients_hooks_and_mode(tokenizer: str) -> None:
    towers = build_model(joint("clip", tokenizer)).towers.train()
    towers.model.vision_model.requires_grad_(False)
    towers.model.text_model.eval()
    trained = [parameter.requires_grad for parameter in towers.parameters()]
    modes = [module.training for module in towers.modules()]
    hooks = [len(module._forward_pre_hooks) for module in towers.modules()]
    copy = copy_of_encoder(towers, "image")
    assert [parameter.requires_grad for parameter in towers.parameters()] == trained
    assert [module.training for module in towers.modules()] == modes
    assert [len(module._forward_pre_hooks) for module in towers.modules()] == hooks
    assert copy.training
    assert num_weights(copy.model.vision_model) == num_weights(towers.model.vision_model), "frozen weights count too"


def test_both_towers_can_be_used_at_once(tokenizer: str) -> None:
    """The tap of a copy must listen to the copy's projection, and to no other."""
    model = build_model(joint("clip", tokenizer)).eval()
    scramble(model)
    copy = copy_of_encoder(model.towers, "image")
    scramble(copy, seed=5)
    expected = copy.model.vision_model(PIXELS).pooler_output
    model.towers.encode_image(PIXELS + 1)
    torch.testing.assert_close(copy.encode_image(PIXELS)[0], expected, rtol=1e-5, atol=1e-6)
    assert copy._image_tap is not model.towers._image_tap
    assert model.towers._image_tap._features is None


def test_the_other_modality_is_gone(models: dict[str, TwoTower]) -> None:
    copy = copy_of_encoder(models["vit-bert"].towers, "image")
    assert copy.modalities == ("image",)
    assert copy.text_model is None
    with pytest.raises(UserError, match="has no text tower"):
        copy_of_encoder(copy, "text")
    with pytest.raises(UserError, match="has no image tower"):
        copy_of_encoder(models["lone-bert"].towers, "image")


def test_a_copy_can_be_copied_and_trains_nothing(models: dict[str, TwoTower]) -> None:
    copy = copy_of_encoder(copy_of_encoder(models["open_clip"].towers, "text"), "text")
    tokens: TokenBatch = models["open_clip"].tokenizer(TEXTS)
    with torch.no_grad():
        mine, original = copy.encode_text(tokens)[1], models["open_clip"].towers.encode_text(tokens)[1]
    torch.testing.assert_close(mine, original, rtol=1e-5, atol=1e-6)
