"""The kinds of open_clip's architectures: a tiny checkpoint of each, saved by open_clip alone."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.push_to_hf_hub import save_for_hf
from transformers import AutoConfig

from tests.towers import tiny_tokenizers as tokenizers
from tests.towers.samples import TEXTS, pictures
from tests.towers.tiny_configs import scramble

_VISION = {"image_size": 32, "layers": 2, "width": 16, "patch_size": 8, "head_width": 8}
_TEXT = {"context_length": tokenizers.LENGTH, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
_TIMM = {"image_size": 32, "timm_model_name": "test_vit", "timm_model_pretrained": False}


@dataclass(frozen=True)
class OpenClipFamily:
    """An architecture of open_clip.

    Attributes:
        config: its ``model_cfg``.
        preprocessing: what its ``preprocess_cfg`` says besides mean and deviation.
        make_tokenizer: the transformers tokenizer that it names; None for open_clip's own.
        text_config: of the transformers text tower that it names; None where it has open_clip's own.
    """

    config: dict[str, Any]
    preprocessing: dict[str, Any] = field(default_factory=dict)
    make_tokenizer: Callable[[], Any] | None = None
    text_config: dict[str, Any] | None = None


_SIGLIP_TEXT = {
    **_TEXT,
    "vocab_size": 400,
    "hf_tokenizer_name": "its own folder",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
FAMILIES: dict[str, OpenClipFamily] = {
    "clip": OpenClipFamily({"embed_dim": 8, "vision_cfg": _VISION, "text_cfg": _TEXT}),
    "clip with quick gelu": OpenClipFamily(
        {"embed_dim": 8, "quick_gelu": True, "vision_cfg": _VISION, "text_cfg": _TEXT}
    ),
    "clip with a custom text": OpenClipFamily(
        {"embed_dim": 8, "custom_text": True, "vision_cfg": _VISION, "text_cfg": _TEXT}
    ),
    "resnet": OpenClipFamily(
        {
            "embed_dim": 8,
            "quick_gelu": True,
            "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
            "text_cfg": _TEXT,
        }
    ),
    "timm": OpenClipFamily(
        {"embed_dim": 8, "vision_cfg": {**_TIMM, "timm_pool": "", "timm_proj": "linear"}, "text_cfg": _TEXT},
        {"interpolation": "bilinear"},
    ),
    "siglip": OpenClipFamily(
        {
            "embed_dim": 64,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {**_TIMM, "timm_pool": "map", "timm_proj": "none"},
            "text_cfg": {**_SIGLIP_TEXT, "width": 64},
        },
        {"resize_mode": "squash"},
        tokenizers.siglip2,
    ),
    "coca": OpenClipFamily(
        {
            "embed_dim": 8,
            "custom_text": True,
            "vision_cfg": {**_VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": {**_TEXT, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {**_TEXT, "heads": 2, "layers": 1, "attn_pooler_heads": 2, "dim_head": 8},
        }
    ),
    "roberta": OpenClipFamily(
        {
            "embed_dim": 8,
            "quick_gelu": True,
            "vision_cfg": _VISION,
            "text_cfg": {
                "context_length": tokenizers.LENGTH,
                "hf_tokenizer_name": "its own folder",
                "hf_pooler_type": "mean_pooler",
            },
        },
        {},
        tokenizers.roberta,
        {"model_type": "roberta", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        | {"intermediate_size": 16, "max_position_embeddings": tokenizers.LENGTH + 2, "pad_token_id": 1},
    ),
}


def save(family: OpenClipFamily, folder: Path) -> None:
    """Save a checkpoint of random weights the way a hub repository of open_clip holds it."""
    config = {**family.config, "text_cfg": dict(family.config["text_cfg"])}
    backend = None if family.make_tokenizer is None else family.make_tokenizer()
    if family.text_config is not None:
        assert backend is not None
        AutoConfig.for_model(**family.text_config, vocab_size=len(backend)).save_pretrained(folder / "text")
        config["text_cfg"]["hf_model_name"] = str(folder / "text")
    name = _known_as(config, folder)
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        model = open_clip.create_model(name, pretrained_text=False, force_preprocess_cfg=family.preprocessing)
    scramble(model)
    save_for_hf(model, _Saved(backend), config, str(folder), safe_serialization=True)


def _known_as(config: dict[str, Any], folder: Path) -> str:
    """Let open_clip know an architecture; return the name that it has from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tiny-{zlib.crc32(str(folder).encode())}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    path.unlink()
    return path.stem


class _Saved:
    """What ``save_for_hf`` wants of a tokenizer; open_clip's own has no files."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def save_pretrained(self, folder: str) -> None:
        if self.backend is not None:
            self.backend.save_pretrained(folder)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back open_clip's logging, which would configure the root logger."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)


@torch.no_grad()
def encode(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what open_clip makes of the sample pictures and texts, unit norm."""
    name = f"local-dir:{folder}"
    with quiet():
        model, preprocess = open_clip.create_model_from_pretrained(name)
        tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    images = model.encode_image(torch.stack([preprocess(picture) for picture in pictures()]), normalize=True)
    return images, model.encode_text(tokenizer(TEXTS), normalize=True)
