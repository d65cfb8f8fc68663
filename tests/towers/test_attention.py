"""What a plan says of attention is what torch is called for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers.attention import attention_of
from mmcl.towers.towers import Towers, probe_one
from tests.tiny import save_tokenizer
from tests.towers.tiny_configs import (
    BERT,
    CLIP_TEXT,
    CLIP_VISION,
    CONVNEXT,
    DINOV2,
    POSITIONS,
    ROBERTA,
    VIT,
    lone_image,
    lone_text,
    open_clip_of_two_layers,
)

MPNET = {"model_type": "mpnet", **POSITIONS}
TIMM_VIT = {"model_type": "timm_wrapper", "architecture": "test_vit"}


def num_calls(towers: Towers, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a forward pass of every tower calls torch's attention."""
    calls: list[int] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def count(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(1)
        return attend(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
    for modality in towers.modalities:
        probe_one(towers, modality)
    return len(calls)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (VIT, {"ViTModel": "sdpa"}),
        (DINOV2, {"Dinov2Encoder": "sdpa"}),
        (CLIP_VISION, {"CLIPVisionModel": "sdpa"}),
        (TIMM_VIT, {"TimmWrapperModel": "sdpa"}),
        (CONVNEXT, {}),
    ],
    ids=lambda value: value.get("model_type"),
)
def test_image_towers(config: dict[str, Any], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    towers = build_model(lone_image(config)).towers
    assert attention_of(towers) == expected
    assert (num_calls(towers, monkeypatch) > 0) == ("sdpa" in expected.values())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BERT, {"BertModel": "sdpa"}),
        (ROBERTA, {"RobertaModel": "sdpa"}),
        (CLIP_TEXT, {"CLIPTextModel": "sdpa"}),
        (MPNET, {"MPNetModel": "eager"}),
    ],
    ids=lambda value: value.get("model_type"),
)
def test_text_towers(
    config: dict[str, Any], expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers = build_model(lone_text(config, save_tokenizer(tmp_path))).towers
    assert attention_of(towers) == expected
    assert (num_calls(towers, monkeypatch) > 0) == ("sdpa" in expected.values())


def test_a_model_of_open_clip_calls_torch(tmp_path: Path) -> None:
    assert attention_of(build_model(open_clip_of_two_layers(tmp_path)).towers) == {"OpenClipTowers": "sdpa"}


def test_both_parts_of_a_joint_model_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision, text = {**sizes, "image_size": 16, "patch_size": 8}, {**sizes, "max_position_embeddings": 32}
    config = {"model_type": "clip", "projection_dim": 8, "vision_config": vision, "text_config": text}
    towers = build_model(ModelConfig(config=config, tokenizer=save_tokenizer(tmp_path))).towers
    assert set(attention_of(towers).values()) == {"sdpa"}
    assert num_calls(towers, monkeypatch) == 2
