"""The families of image and text towers: a tiny checkpoint of each, saved by transformers (or timm) alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import transformers as hf
from safetensors.torch import save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from tests.towers import tiny_tokenizers as tokenizers
from tests.towers.joint_families import CROPPED, PATCHES, POSITIONS, SHIFTED, SQUASHED
from tests.towers.samples import TEXTS, pictures
from tests.towers.tiny_configs import scramble

RESIZED_AND_CROPPED = {"size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}}


@dataclass(frozen=True)
class ImageFamily:
    """An image tower.

    Attributes:
        config: of the model, by transformers' names.
        image_processor: its class and fields.
    """

    config: dict[str, Any]
    image_processor: tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class TextFamily:
    """A text tower, read as sentence embeddings are: the mean over its real tokens.

    Attributes:
        config: of the model, by transformers' names.
        make_tokenizer: its tokenizer.
    """

    config: dict[str, Any]
    make_tokenizer: Callable[[], Any]


_DEPTHS = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 16]}
_DINOV2 = {name: value for name, value in PATCHES.items() if name != "intermediate_size"}
_SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
IMAGES: dict[str, ImageFamily] = {
    "vit": ImageFamily({"model_type": "vit", **PATCHES}, ("ViTImageProcessor", SQUASHED)),
    "dinov2": ImageFamily({"model_type": "dinov2", **_DINOV2}, ("BitImageProcessor", RESIZED_AND_CROPPED)),
    "dinov2 with registers": ImageFamily(
        {"model_type": "dinov2_with_registers", **_DINOV2}, ("BitImageProcessor", RESIZED_AND_CROPPED)
    ),
    "convnext": ImageFamily(
        {"model_type": "convnext", **_DEPTHS}, ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}})
    ),
    "convnext squashed": ImageFamily(
        {"model_type": "convnext", **_DEPTHS}, ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}})
    ),
    "convnextv2": ImageFamily(
        {"model_type": "convnextv2", **_DEPTHS},
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}, "crop_pct": 0.9}),
    ),
    "swin": ImageFamily({"model_type": "swin", **_SWIN}, ("ViTImageProcessor", SQUASHED)),
    "swinv2": ImageFamily({"model_type": "swinv2", **_SWIN}, ("ViTImageProcessor", SQUASHED)),
    "resnet": ImageFamily(
        {"model_type": "resnet", **_DEPTHS, "embedding_size": 8},
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}, "resample": 2}),
    ),
    "clip": ImageFamily({"model_type": "clip_vision_model", **PATCHES}, ("CLIPImageProcessor", CROPPED)),
    "siglip": ImageFamily({"model_type": "siglip_vision_model", **PATCHES}, ("SiglipImageProcessor", SQUASHED)),
}
TEXT: dict[str, TextFamily] = {
    "bert": TextFamily({"model_type": "bert", **POSITIONS}, tokenizers.bert),
    "roberta": TextFamily({"model_type": "roberta", **SHIFTED}, tokenizers.roberta),
    "xlm-roberta": TextFamily({"model_type": "xlm-roberta", **SHIFTED}, tokenizers.xlm_roberta),
    "multilingual bert": TextFamily(
        {"model_type": "bert", **POSITIONS}, lambda: tokenizers.bert(do_lower_case=False, strip_accents=False)
    ),
    "mpnet": TextFamily({"model_type": "mpnet", **SHIFTED}, tokenizers.mpnet),
    "distilbert": TextFamily(
        {"model_type": "distilbert", "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
        | {"max_position_embeddings": tokenizers.LENGTH},
        tokenizers.bert,
    ),
    "modernbert": TextFamily(
        {"model_type": "modernbert", **POSITIONS, "global_attn_every_n_layers": 2, "local_attention": 4},
        tokenizers.modern_bert,
    ),
}


def save_image_tower(family: ImageFamily, folder: Path) -> None:
    """Save a checkpoint of random weights the way a hub repository of the family holds it."""
    _random_model(family.config).save_pretrained(folder)
    kind, options = family.image_processor
    getattr(hf, kind)(**options).save_pretrained(folder)


def save_text_tower(family: TextFamily, folder: Path) -> None:
    """Save a checkpoint of random weights the way a hub repository of the family holds it."""
    tokenizer = family.make_tokenizer()
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "cls_token_id", "sep_token_id")}
    _random_model({**family.config, "vocab_size": len(tokenizer), **ids}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _random_model(config: dict[str, Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(**config))
    scramble(model)
    return model


def save_timm(folder: Path, **transform: Any) -> Any:
    """Save a timm model the way timm's own hub repositories hold it, all of it in ``config.json``; return the model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=0)
    scramble(model)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architecture": "test_resnet",
        "num_classes": 0,
        "num_features": model.num_features,
        "pretrained_cfg": {**model.pretrained_cfg, "num_classes": 0, **transform},
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    model.pretrained_cfg = config["pretrained_cfg"]
    return model


@torch.no_grad()
def encode_by_timm(model: Any) -> torch.Tensor:
    """Return what timm makes of the sample pictures with the transform that a model's configuration describes."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    rows = model.eval()(torch.stack([transform(picture) for picture in pictures()]))
    return torch.nn.functional.normalize(rows, dim=-1)


@torch.no_grad()
def encode_pictures(folder: Path) -> torch.Tensor:
    """Return what transformers makes of the sample pictures, pooled by the model itself, unit norm."""
    pixels = AutoImageProcessor.from_pretrained(folder)(pictures(), return_tensors="pt")["pixel_values"]
    pooled = AutoModel.from_pretrained(folder).eval()(pixel_values=pixels).pooler_output
    return torch.nn.functional.normalize(pooled.flatten(1), dim=-1)


@torch.no_grad()
def encode_texts(folder: Path) -> torch.Tensor:
    """Return what transformers makes of the sample texts, the mean over real tokens, unit norm."""
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, truncation=True, return_tensors="pt")
    states = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    weights = tokens["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
