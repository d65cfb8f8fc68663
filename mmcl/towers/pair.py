"""A pair: any transformers vision model and any transformers text model, each pooled and projected."""

from __future__ import annotations

import logging

from torch import Tensor, nn
from transformers import PreTrainedModel

from mmcl.batch import TokenBatch
from mmcl.recipe_model import ModelConfig
from mmcl.towers.encoder import load_image_encoder, load_text_encoder
from mmcl.towers.loading import build_backbone
from mmcl.towers.pooling import pool_image, pool_text
from mmcl.towers.towers import LoadedTowers, Towers, freeze_unused, probe, take_weights

_log = logging.getLogger(__name__)


class PairTowers(Towers):
    """Two transformers models, each with its pooling and a projection without bias.

    Args:
        image_model: takes ``pixel_values``.
        text_model: takes ``input_ids`` and ``attention_mask``.
        image_pooling: as `mmcl.towers.pooling.pool_image` takes it.
        text_pooling: as `mmcl.towers.pooling.pool_text` takes it.
        image_dim: width of the pooled image features.
        text_dim: width of the pooled text features.
        embedding_dim: width of the shared space.
    """

    skips_padding = True

    def __init__(
        self,
        image_model: PreTrainedModel,
        text_model: PreTrainedModel,
        image_pooling: str,
        text_pooling: str,
        image_dim: int,
        text_dim: int,
        embedding_dim: int,
    ) -> None:
        super().__init__()
        self.image_model, self.text_model = image_model, text_model
        self.image_pooling, self.text_pooling = image_pooling, text_pooling
        self.image_dim, self.text_dim, self.embedding_dim = image_dim, text_dim, embedding_dim
        self.image_projection = _projection(image_dim, embedding_dim)
        self.text_projection = _projection(text_dim, embedding_dim)

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = pool_image(self.image_model(pixel_values=pixels), self.image_pooling)
        return features, self.image_projection(features)

    def encode_text(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        output = self.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        features = pool_text(output, tokens.attention_mask, self.text_pooling)
        return features, self.text_projection(features)

    def reset(self) -> None:
        for model in (self.image_model, self.text_model):
            take_weights(model, build_backbone(model.config))
        for projection in (self.image_projection, self.text_projection):
            take_weights(projection, _projection(projection.in_features, self.embedding_dim))

    def text_backbone(self) -> PreTrainedModel:
        return self.text_model

    def extra_repr(self) -> str:
        return f"image_pooling={self.image_pooling}, text_pooling={self.text_pooling}"


def _projection(width: int, embedding_dim: int) -> nn.Linear:
    # CLIP's initialisation of its projections.
    projection = nn.Linear(width, embedding_dim, bias=False)
    nn.init.normal_(projection.weight, std=width**-0.5)
    return projection


def build_pair(config: ModelConfig) -> LoadedTowers:
    """Return the pair that ``config.image`` and ``config.text`` describe; random parts from torch's generator.

    Raises:
        UserError: a tower that is none, cannot be had, or does not fit its pooling, image size, text length or
            tokenizer.
    """
    assert config.image is not None
    assert config.text is not None
    assert config.embedding_dim is not None
    image, text = load_image_encoder(config.image), load_text_encoder(config.text)
    if text.head:
        _log.warning("%s: its Dense layers are left out, for the pair has a projection of its own", text.label)
    towers = PairTowers(image.model, text.model, image.pooling, text.pooling, image.dim, text.dim, config.embedding_dim)
    freeze_unused(towers, probe(towers, image.preprocessing.size, text.tokenizer))
    return LoadedTowers(towers, image.preprocessing, text.tokenizer, None, None, f"{image.label} and {text.label}")
