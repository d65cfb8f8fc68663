"""One tower alone: a transformers model of pictures (SimCLR, MoCo ...) or of texts (SimCSE), pooled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmcl.batch import TokenBatch
from mmcl.errors import UserError
from mmcl.recipe_model import STATIC, ImageTowerConfig, TextTowerConfig
from mmcl.towers.description import BIAS_KEY, PROJECTION_KEY
from mmcl.towers.encoder import load_image_encoder, load_text_encoder
from mmcl.towers.loading import build_backbone
from mmcl.towers.pooling import pool_image, pool_text
from mmcl.towers.sentence_model import read_dense
from mmcl.towers.source import locate_tower
from mmcl.towers.static import build_static
from mmcl.towers.towers import LoadedTowers, Modality, Output, Towers, freeze_unused, probe, take_weights
from mmcl.towers.weights import read_weights

HEAD_STD = 0.02
"""BERT's initialisation of its pooler."""


class TextHead(nn.Module):
    """An activation of W x + b: BERT's pooler, supervised SimCSE's head (arXiv:2104.08821, 3), a Dense module.

    Args:
        linear: the layer, with its weights.
        activation: of torch, without parameters; by default tanh.
    """

    def __init__(self, linear: nn.Linear, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.linear, self.activation = linear, activation or nn.Tanh()

    @classmethod
    def drawn(cls, width: int) -> TextHead:
        """Return one of tanh, as wide as it is high, drawn from torch's generator."""
        head = cls(nn.Linear(width, width))
        head.reset()
        return head

    @classmethod
    def load(cls, folder: Path) -> TextHead:
        """Return what a Dense module of sentence-transformers has in ``folder``.

        Raises:
            UserError: a missing or damaged file, or a kind of Dense that is not known here.
        """
        settings = read_dense(folder)
        keys = (PROJECTION_KEY, BIAS_KEY) if settings.has_bias else (PROJECTION_KEY,)
        weight, *bias = read_weights(settings.weights, keys)
        linear = nn.Linear(weight.shape[1], weight.shape[0], settings.has_bias, device="meta")
        linear.weight = nn.Parameter(weight)
        if bias:
            linear.bias = nn.Parameter(bias[0])
        return cls(linear, settings.activation())

    def reset(self) -> None:
        """Draw the weights as BERT draws its pooler, from torch's generator."""
        nn.init.normal_(self.linear.weight, std=HEAD_STD)
        if self.linear.bias is not None:
            nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, V)`` of features ``(B, W)``."""
        out: Tensor = self.activation(self.linear(features))
        return out


class SingleTower(Towers):
    """One transformers model; its embedding is its pooled features, or what the layers of a kept head make of them.

    Args:
        modality: what it encodes.
        backbone: takes ``pixel_values``, or ``input_ids`` and ``attention_mask``.
        pooling: as `mmcl.towers.pooling` takes it.
        dim: width of the pooled features.
    """

    head: nn.Sequential | None

    def __init__(self, modality: Modality, backbone: PreTrainedModel, pooling: str, dim: int) -> None:
        super().__init__()
        self.modality, self.pooling = modality, pooling
        self.modalities = (modality,)
        self.embedding_dim = dim
        self.image_dim, self.text_dim = (dim, 0) if modality == "image" else (0, dim)
        self.skips_padding = modality == "text"
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

    def reset(self) -> None:
        take_weights(self.backbone, build_backbone(self.backbone.config))
        for layer in self.modules():
            if isinstance(layer, TextHead):
                layer.reset()

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
                head = TextHead.drawn(self.text_dim)
            # Drawn on the CPU, so that a seed means the same weights everywhere.
            self._keep([head])

    def load_head(self, folders: Sequence[Path]) -> None:
        """Take the layers that a model has in ``folders``, as its head.

        Raises:
            UserError: a missing or damaged file, or layers that do not fit each other.
        """
        layers, width = [TextHead.load(folder) for folder in folders], self.text_dim
        for folder, layer in zip(folders, layers, strict=True):
            if layer.linear.in_features != width:
                raise UserError(f"{folder} takes vectors of {layer.linear.in_features} numbers, and is given {width}")
            width = layer.linear.out_features
        self._keep(layers)

    def _keep(self, layers: Sequence[TextHead]) -> None:
        self.head = nn.Sequential(*layers).to(next(self.backbone.parameters())).train(self.training)
        self.embedding_dim = layers[-1].linear.out_features

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
    if text.head:
        towers.load_head(text.head)
    freeze_unused(towers, probe(towers, None, text.tokenizer))
    return LoadedTowers(towers, None, text.tokenizer, None, None, text.label)


def _is_static(tower: TextTowerConfig) -> bool:
    if tower.name is None:
        return (tower.config or {}).get("model_type") == STATIC
    return locate_tower(tower.name, "text").is_static
