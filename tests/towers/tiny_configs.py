"""Configurations of tiny towers, by transformers' names; every picture is 32 pixels, every text 12 tokens at most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import nn

from mmcl.recipe_model import ModelConfig

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PATCHES: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}
POSITIONS: dict[str, Any] = {**SIZES, "max_position_embeddings": 12}

VIT = {"model_type": "vit", **PATCHES}
# Keeps a mask token for its own pre-training, which no embedding depends on.
DINOV2 = {"model_type": "dinov2", **{name: value for name, value in PATCHES.items() if name != "intermediate_size"}}
CLIP_VISION = {"model_type": "clip_vision_model", **PATCHES}
CONVNEXT = {"model_type": "convnext", "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}
RESNET = {"model_type": "resnet", "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "embedding_size": 8}
TIMM_RESNET = {
    "model_type": "timm_wrapper",
    "architecture": "resnet18",
    "model_args": {"channels": [8, 8, 16, 24]},
}
BERT = {"model_type": "bert", **POSITIONS}
ROBERTA = {"model_type": "roberta", **POSITIONS}
CLIP_TEXT = {"model_type": "clip_text_model", **POSITIONS}
STATIC = {"model_type": "static", "embedding_dim": 6}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 12}

OPEN_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def pair(
    image: dict[str, Any],
    text: dict[str, Any],
    tokenizer: str,
    image_fields: dict[str, Any] | None = None,
    text_fields: dict[str, Any] | None = None,
    **fields: Any,
) -> ModelConfig:
    """Two fresh towers."""
    return ModelConfig.model_validate(
        {
            "image": {"config": image, "image_size": 32, **(image_fields or {})},
            "text": {"config": text, "tokenizer": tokenizer, **(text_fields or {})},
            "embedding_dim": 8,
            **fields,
        }
    )


def lone_image(image: dict[str, Any], **fields: Any) -> ModelConfig:
    """A fresh image tower alone."""
    return ModelConfig.model_validate({"image": {"config": image, "image_size": 32, **fields}})


def lone_text(text: dict[str, Any], tokenizer: str, **fields: Any) -> ModelConfig:
    """A fresh text tower alone."""
    return ModelConfig.model_validate({"text": {"config": text, "tokenizer": tokenizer, **fields}})


def joint(model_type: str, tokenizer: str, **fields: Any) -> ModelConfig:
    """A fresh joint model: clip, siglip, chinese_clip or altclip."""
    text = {**POSITIONS, **({"project_dim": 16} if model_type == "altclip" else {})}
    width = {} if model_type == "siglip" else {"projection_dim": 8}
    config = {"model_type": model_type, "vision_config": PATCHES, "text_config": text, **width}
    return ModelConfig.model_validate({"config": config, "tokenizer": tokenizer, **fields})


@torch.no_grad()
def scramble(model: nn.Module, seed: int = 0) -> None:
    """Draw all weights anew, larger: the embeddings of a freshly made model are all but the same for every input."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2:
            fan_in = 1.0 if "embed" in name else parameter[0].numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.5 * fan_in**-0.5)
        elif parameter.dim() == 1:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
        if name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


def open_clip_of_two_layers(folder: Path) -> ModelConfig:
    """A fresh open_clip model whose towers have two blocks, which ``OPEN_CLIP``'s have not."""
    parts = {name: {**OPEN_CLIP[name], "layers": 2} for name in ("vision_cfg", "text_cfg")}
    (folder / "two-layers.json").write_text(json.dumps({**OPEN_CLIP, **parts}))
    open_clip.add_model_config(folder / "two-layers.json")
    return ModelConfig(name="two-layers", pretrained=False)
