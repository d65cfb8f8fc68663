from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcl.errors import UserError
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers.layers import layers_of
from mmcl.towers.towers import Modality
from tests.towers.tiny_configs import (
    BERT,
    CONVNEXT,
    DINOV2,
    RESNET,
    STATIC,
    TIMM_RESNET,
    VIT,
    lone_image,
    open_clip_of_two_layers,
    pair,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}


def names_by_depth(model: TwoTower, modality: Modality) -> dict[int, set[str]]:
    layers = layers_of(model.towers, modality)
    names = {id(parameter): name for name, parameter in model.towers.named_parameters()}
    found: dict[int, set[str]] = {}
    for key, depth in layers.depths.items():
        found.setdefault(depth, set()).add(names[key])
    return found


def joint(model_type: str, tokenizer: str) -> ModelConfig:
    config = {
        "model_type": model_type,
        "text_config": {**SIZES, "max_position_embeddings": 12},
        "vision_config": {**SIZES, "image_size": 32, "patch_size": 8},
    }
    return ModelConfig.model_validate({"config": config, "tokenizer": tokenizer})


@pytest.mark.parametrize("model_type", ["clip", "siglip", "chinese_clip"])
def test_a_joint_model_is_embeddings_blocks_and_what_projects(model_type: str, tokenizer: str) -> None:
    model = build_model(joint(model_type, tokenizer))
    for modality, part in (("image", "vision_model"), ("text", "text_model")):
        depths = names_by_depth(model, modality)  # type: ignore[arg-type]
        assert set(depths) == {0, 1, 2, 3, 4}
        assert all("embeddings" in name or "pre_layrnorm" in name for name in depths[0])
        for number in (1, 2, 3):
            assert all(part in name and f".{number - 1}." in name for name in depths[number])
        assert not any("embeddings" in name or f"{part}.encoder" in name for name in depths[4])


def test_together_they_are_all_that_an_embedding_depends_on(tokenizer: str) -> None:
    model = build_model(joint("clip", tokenizer))
    found = {key for modality in ("image", "text") for key in layers_of(model.towers, modality).depths}  # type: ignore[arg-type]
    assert found == {id(parameter) for parameter in model.towers.parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("image", "num_blocks", "stem"),
    [
        ({**VIT, "num_hidden_layers": 2}, 2, "embeddings"),
        ({**DINOV2, "num_hidden_layers": 2}, 2, "embeddings"),
        (CONVNEXT, 4, "embeddings"),
        (RESNET, 4, "embedder"),
        (TIMM_RESNET, 4, "timm_model"),
    ],
    ids=["vit", "dinov2", "convnext", "resnet", "timm"],
)
def test_blocks_are_layers_or_stages(image: dict[str, Any], num_blocks: int, stem: str) -> None:
    model = build_model(lone_image(image))
    assert len(layers_of(model.towers, "image").blocks) == num_blocks
    depths = names_by_depth(model, "image")
    assert depths[0]
    assert all(stem in name for name in depths[0])


def test_the_projection_of_a_pair_comes_last(tokenizer: str) -> None:
    model = build_model(pair({**VIT, "num_hidden_layers": 2}, {**BERT, "num_hidden_layers": 2}, tokenizer))
    assert "text_projection.weight" in names_by_depth(model, "text")[3]
    assert "image_projection.weight" in names_by_depth(model, "image")[3]


def test_blocks_of_open_clip_models(tmp_path: Path) -> None:
    model = build_model(open_clip_of_two_layers(tmp_path))
    image, text = names_by_depth(model, "image"), names_by_depth(model, "text")
    assert (set(image), set(text)) == ({0, 1, 2, 3}, {0, 1, 2, 3})
    assert all("resblocks.1." in name for name in image[2] | text[2])
    # Neither is a module of its own, and both are named before the blocks.
    assert "model.visual.proj" in image[3]
    assert "model.positional_embedding" in text[0]


def test_what_stands_between_two_blocks_goes_with_the_first_of_them() -> None:
    """A stem of several convolutions is a sequence like the stages; its norm stands between it and them."""
    stem = {"stem_type": "deep", "stem_width": 4}
    config = {**TIMM_RESNET, "model_args": {**TIMM_RESNET["model_args"], **stem}}
    depths = names_by_depth(build_model(lone_image(config)), "image")
    (depth,) = {number for number, names in depths.items() if any(".timm_model.bn1.weight" in name for name in names)}
    assert depth < min(number for number, names in depths.items() if any("layer1" in name for name in names))


def test_one_block_is_a_block(tokenizer: str) -> None:
    """Not the linear layers within it, which are equals too."""
    model = build_model(pair(VIT, BERT, tokenizer))
    assert [len(layers_of(model.towers, modality).blocks) for modality in model.towers.modalities] == [1, 1]


def test_a_tower_without_blocks_is_refused(tokenizer: str) -> None:
    model = build_model(ModelConfig.model_validate({"text": {"config": STATIC, "tokenizer": tokenizer}}))
    with pytest.raises(UserError, match="the text tower has no blocks"):
        layers_of(model.towers, "text")
