"""One tower alone: a transformers model of pictures (SimCLR, MoCo ...) or of texts (SimCSE), pooled."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmcl.batch import TokenBatch
from mmcl.recipe_model import STATIC, ImageTowerConfig, TextTowerConfig
from mmcl.towers.description import BIAS_KEY, HEAD_FOLDER, PROJECTION_KEY
from mmcl.towers.encoder import load_image_encoder, load_text_encoder
from mmcl.towers.pooling import pool_image, pool_text
from mmcl.towers.source import locate_tower
from mmcl.towers.static import build_static
from mmcl.towers.towers import LoadedTowers, Modality, Output, Towers, freeze_unused, probe
from mmcl.towers.weights import copy_weights

HEAD_STD = 0.02
"""BERT's initialisation of its pooler."""


class TextHead(nn.Module):
    """tanh(W x + b), as wide as it is high: BERT's pooler, and supervised SimCSE's head (arXiv:2104.08821, 3).

    Args:
        width: of what goes in and what comes out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        nn.init.normal_(self.linear.weight, std=HEAD_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, W)`` in (-1, 1) of features ``(B, W)``."""
        return torch.tanh(self.linear(features))


class SingleTower(Towers):
    """One transformers model; its embedding is its pooled features, or what a kept head makes of them.

    Args:
        modality: what it encodes.
        backbone: takes ``pixel_values``, or ``input_ids`` and ``attention_mask``.
        pooling: as `mmcl.towers.pooling` takes it.
        dim: width of the pooled features.
    """

    head: TextHead | None

    def __init__(self, modality: Modality, backbone: PreTrainedModel, pooling: str, dim: int) -> None:
        super().__init__()
        self.modality, self.pooling = modality, pooling
        self.modalities = (modality,)
        self.embedding_dim = dim
        self.image_dim, self.text_dim = (dim, 0) if modality == "image" else (0, dim)
        self.backbone = backbone
        self.head = None

    def encode_image(self, pixels: Tensor) -> Output:
        self.require("image")
        features = pool_image(self.backbone(pixel_values=pixels), self.pooling)
        return features, features

    def encode_text(self, tokens: TokenBatch) -> Output:
        self.require("text")
        output = self.backbone(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        features = pool_text(output, tokens.attention_mask, self.pooling)
        return features, features if self.head is None else self.head(features)

    def text_backbone(self) -> PreTrainedModel:
        self.require("text")
        return self.backbone

    def keep_text_head(self) -> None:
        """Add the head, drawn from torch's generator, if there is none yet.

        Raises:
            UserError: it is a model of pictures.
        """
        if self.modality != "text":
            super().keep_text_head()
        if self.head is None:
            with torch.device("cpu"):
                head = TextHead(self.text_dim)
            # Drawn on the CPU, so that a seed means the same weights everywhere.
            self.head = head.to(next(self.backbone.parameters())).train(self.training)

    def load_head(self, folder: Path) -> None:
        """Take the head that an exported model has in ``folder``.

        Raises:
            UserError: a missing or damaged file.
        """
        self.keep_text_head()
        assert self.head is not None
        linear = self.head.linear
        copy_weights({PROJECTION_KEY: linear.weight, BIAS_KEY: linear.bias}, folder / "model.safetensors")

    def extra_repr(self) -> str:
        return f"modality={self.modality}, pooling={self.pooling}"


def build_single(tower: ImageTowerConfig | TextTowerConfig) -> LoadedTowers:
    """Return the one tower that a recipe describes; random weights from torch's generator.

    A head that a named model has kept is taken with it.

    Raises:
        UserError: it is none, cannot be had, or does not fit its pooling, image size, text length or tokenizer.
    """
    if isinstance(tower, ImageTowerConfig):
        image = load_image_encoder(tower)
        towers = SingleTower("image", image.model, image.pooling, image.dim)
        freeze_unused(towers, probe(towers, image.preprocessing.size, None))
        return LoadedTowers(towers, image.preprocessing, None, None, None, image.label)
    if _is_static(tower):
        return build_static(tower)
    text = load_text_encoder(tower)
    towers = SingleTower("text", text.model, text.pooling, text.dim)
    if text.head_folder is not None:
        towers.load_head(Path(text.head_folder) / HEAD_FOLDER)
    freeze_unused(towers, probe(towers, None, text.tokenizer))
    return LoadedTowers(towers, None, text.tokenizer, None, None, text.label)


def _is_static(tower: TextTowerConfig) -> bool:
    if tower.name is None:
        return (tower.config or {}).get("model_type") == STATIC
    return locate_tower(tower.name, "text").is_static
