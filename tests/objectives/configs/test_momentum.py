from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mmcl.objectives.configs.base import HeadConfig
from mmcl.objectives.configs.momentum import BYOLConfig, MemoryBankConfig, MoCoConfig, MoCoV3Config
from mmcl.schedules import MomentumSchedule, value_at


def test_only_the_query_of_moco_goes_through_the_trained_encoder_unless_it_is_symmetric() -> None:
    assert MoCoConfig().encoded_views == ("image.0",)
    assert MoCoConfig(symmetric=True).encoded_views == ("image.0", "image.1")
    assert BYOLConfig().encoded_views == ("image.0", "image.1")


def test_momentum_is_by_default_the_papers() -> None:
    assert MoCoConfig().momentum == 0.999
    assert MoCoV3Config().momentum == MomentumSchedule(start=0.99, end=1.0)
    assert value_at(BYOLConfig().momentum, 0, 100) == pytest.approx(0.996)
    assert value_at(BYOLConfig().momentum, 50, 100) == pytest.approx(0.998)
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        MoCoConfig.model_validate({"momentum": 1.5})


def test_versions_of_moco_differ_in_head_and_temperature() -> None:
    first, second = MoCoConfig(version=1), MoCoConfig()
    assert (first.temperature, second.temperature) == (0.07, 0.2)
    assert first.head == HeadConfig(num_layers=1, batch_norm=False, last_bias=True)
    assert second.head == HeadConfig(num_layers=2, batch_norm=False, last_bias=True)
    assert MoCoConfig.model_validate(first.model_dump()) == first
    said = MoCoConfig.model_validate({"version": 1, "temperature": 0.1, "head": {"output_dim": 64}})
    assert said.temperature == 0.1
    assert said.head == HeadConfig(num_layers=1, output_dim=64, batch_norm=False, last_bias=True)
    assert MoCoConfig.model_validate({"version": 1, "head": None}).head is None


def test_moco_refuses_one_view() -> None:
    with pytest.raises(ValidationError, match="must be two views"):
        MoCoConfig(views=("image.0",))


@pytest.mark.parametrize("config_class", [MoCoV3Config, BYOLConfig])
def test_the_predictor_ends_in_the_projections_width(config_class: Any) -> None:
    said = config_class.model_validate({"head": {"output_dim": 6}, "predictor": {"output_dim": 6}})
    assert (said.predictor.output_dim, said.predictor.hidden_dim) == (6, 4096)
    with pytest.raises(ValidationError, match=r"predictor\.output_dim must be null or head\.output_dim, 6, got 7"):
        config_class.model_validate({"head": {"output_dim": 6}, "predictor": {"output_dim": 7}})
    with pytest.raises(ValidationError, match=r"head\.output_dim, null, got 7"):
        config_class.model_validate({"head": None, "predictor": {"output_dim": 7}})


def test_moco_v3s_heads_are_by_default_the_papers() -> None:
    config = MoCoV3Config()
    assert config.head is not None
    assert (config.head.num_layers, config.head.hidden_dim, config.head.output_dim) == (3, 4096, 256)
    assert (config.predictor.num_layers, config.predictor.hidden_dim) == (2, 4096)
    assert config.head.last_batch_norm
    assert config.predictor.last_batch_norm


def test_a_memory_bank_refuses_two_views() -> None:
    with pytest.raises(ValidationError, match="must be one view"):
        MemoryBankConfig(views=("image.0", "image.1"))
