"""What a recipe may say of the model."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mmcl.recipe_model import ModelConfig


@pytest.mark.parametrize("modality", ["image", "text"])
def test_one_tower_alone_is_a_model(modality: str) -> None:
    config = ModelConfig.model_validate({modality: "a/name"})
    assert getattr(config, modality).name == "a/name"
    assert config.embedding_dim is None, "its embedding is its features"


def test_a_pair_has_a_width_by_default() -> None:
    assert ModelConfig.model_validate({"image": "a", "text": "b"}).embedding_dim == 512
    assert ModelConfig.model_validate({"image": "a", "text": "b", "embedding_dim": None}).embedding_dim == 512
    assert ModelConfig.model_validate({"image": "a", "text": "b", "embedding_dim": 7}).embedding_dim == 7
    assert ModelConfig(name="a").embedding_dim is None


@pytest.mark.parametrize("width", [512, 64])
def test_a_lone_tower_refuses_a_width(width: int) -> None:
    with pytest.raises(ValidationError, match=f"got {width} for one tower alone, whose embedding is its features"):
        ModelConfig.model_validate({"image": "a", "embedding_dim": width})


@pytest.mark.parametrize("model", [{"image": "a"}, {"text": "a"}, {"image": "a", "text": "b"}, {"name": "a"}])
def test_a_resolved_model_loads_back_equal(model: dict[str, str]) -> None:
    config = ModelConfig.model_validate(model)
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_tower_beside_a_joint_model_is_refused() -> None:
    with pytest.raises(ValidationError, match="give exactly one of"):
        ModelConfig.model_validate({"name": "a", "image": "b"})
