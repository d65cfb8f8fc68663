"""A pair: any transformers vision model and any transformers text model, each pooled and projected."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from mmcl.batch import TokenBatch
from mmcl.errors import UserError
from mmcl.recipe_model import ImageTowerConfig, ModelConfig, TextTowerConfig
from mmcl.text.tokenizer import (
    HuggingFaceTokenizer,
    check_ids_fit,
    ends_texts_with,
    load_tokenizer,
    longest_text,
    special_token_ids,
)
from mmcl.towers.loading import (
    build_backbone,
    config_from_dict,
    default_preprocessing,
    load_backbone,
    load_config,
    load_preprocessing,
    num_positions,
    num_token_embeddings,
    refuse_missing,
)
from mmcl.towers.pooling import pool_image, pool_text
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.towers import LoadedTowers, Towers, freeze_unused, probe


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

    def extra_repr(self) -> str:
        return f"image_pooling={self.image_pooling}, text_pooling={self.text_pooling}"


def _projection(width: int, embedding_dim: int) -> nn.Linear:
    # CLIP's initialisation of its projections.
    projection = nn.Linear(width, embedding_dim, bias=False)
    nn.init.normal_(projection.weight, std=width**-0.5)
    return projection


@dataclass(frozen=True)
class _Tower:
    """A backbone with what is known about it before it is pooled."""

    model: PreTrainedModel
    config: PreTrainedConfig
    has_trained_pooler: bool
    label: str


def build_pair(config: ModelConfig) -> LoadedTowers:
    """Return the pair that ``config.image`` and ``config.text`` describe; random parts from torch's generator.

    Raises:
        UserError: a tower that is none, cannot be had, or does not fit its pooling, image size, text length or
            tokenizer.
    """
    assert config.image is not None
    assert config.text is not None
    image = _load_tower(config.image, "vision_config")
    preprocessing = _image_preprocessing(config.image, image)
    text, tokenizer = _text_tower(config.text)
    image_pooling, image_dim = _settle_image_pooling(image, config.image.pooling, preprocessing.size)
    text_pooling, text_dim = _settle_text_pooling(text, config.text.pooling, tokenizer)
    towers = PairTowers(
        image.model,
        text.model,
        image_pooling,
        text_pooling,
        image_dim,
        text_dim,
        config.embedding_dim,
    )
    freeze_unused(towers, *probe(towers, preprocessing.size, tokenizer))
    return LoadedTowers(towers, preprocessing, tokenizer, None, None, f"{image.label} and {text.label}")


def _load_tower(tower: ImageTowerConfig | TextTowerConfig, part: str, extra: dict[str, Any] | None = None) -> _Tower:
    """Load or build one backbone; of a joint model only ``part``."""
    if tower.config is not None:
        config = config_from_dict(tower.config, extra)
        label = f"a fresh {config.model_type}"
    else:
        assert tower.name is not None
        config = load_config(tower.name)
        config = getattr(config, part, config)
        label = tower.name
    if hasattr(config, "text_config") and hasattr(config, "vision_config"):
        raise UserError(f"{label} is a joint model; give it as model: {{config: ...}}, or the config of one tower")
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{label} is an encoder and a decoder ({config.model_type}); a tower is an encoder alone")
    if hasattr(config, "use_cache"):
        # A cache of keys and values is for generating text; a tower never looks at it again.
        config.use_cache = False
    if tower.name is None or not tower.pretrained:
        return _Tower(build_backbone(config), config, False, label)
    model, missing = load_backbone(tower.name, config)
    refuse_missing({name for name in missing if not name.startswith("pooler.")}, tower.name)
    return _Tower(model, config, not missing, label)


def _image_preprocessing(tower: ImageTowerConfig, image: _Tower) -> ImagePreprocessing:
    found = load_preprocessing(tower.name, image.config) if tower.name else default_preprocessing(image.config)
    return found.with_fields(tower.image_size, tower.image_mean, tower.image_std)


def _text_tower(tower: TextTowerConfig) -> tuple[_Tower, HuggingFaceTokenizer]:
    source = tower.tokenizer or tower.name
    assert source is not None
    backend = load_tokenizer(source)
    extra = None
    if tower.config is not None:
        num_ids = max(backend.get_vocab().values()) + 1
        extra = {"vocab_size": num_ids, **special_token_ids(backend)}
    text = _load_tower(tower, "text_config", extra)
    check_ids_fit(backend, num_token_embeddings(text.model, text.label), text.label)
    max_length = longest_text(backend, num_positions(text.model), tower.max_length, text.label)
    return text, HuggingFaceTokenizer(backend, max_length)


def _settle_image_pooling(image: _Tower, asked: str, size: int) -> tuple[str, int]:
    """Return the pooling that ``auto`` means and the features' width, and drop a pooler that is not used."""
    output = _try_image(image, size)
    pooled = getattr(output, "pooler_output", None)
    pooling = asked
    if asked == "auto":
        is_made = image.has_trained_pooler or not _has_parametric_pooler(image.model)
        pooling = "pooler" if pooled is not None and is_made else "mean"
    states = output.last_hidden_state
    if pooling == "pooler" and pooled is None:
        raise UserError(f"{image.label} has no pooler of its own; image.pooling must be cls or mean, got pooler")
    if pooling == "cls" and states.dim() == 4:
        raise UserError(f"{image.label} has no class token; image.pooling must be pooler or mean, got cls")
    if pooling == "mean" and states.dim() == 4 and pooled is not None and states.shape[1] != pooled.shape[1]:
        # A map with its channels last; nothing outside of the model knows which dimension is which.
        raise UserError(f"{image.label} can only be pooled by itself; image.pooling must be pooler, got {asked}")
    if pooling != "pooler":
        drop_pooler(image.model)
    if pooling == "pooler" and pooled is not None and pooled.dim() == 4:
        pooling = "flattened_pooler"
    return pooling, pool_image(output, pooling).shape[1]


def _try_image(image: _Tower, size: int) -> Any:
    image.model.eval()
    try:
        with torch.no_grad():
            output = image.model(pixel_values=torch.zeros(1, 3, size, size))
    except (ValueError, RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{image.label} does not take pictures of {size} x {size} pixels: {reason}") from error
    if getattr(output, "last_hidden_state", None) is None:
        raise UserError(f"{image.label} ({image.config.model_type}) is not an image encoder")
    return output


def _settle_text_pooling(text: _Tower, asked: str, tokenizer: HuggingFaceTokenizer) -> tuple[str, int]:
    """Return the pooling that ``auto`` means and the features' width, and drop a pooler that is not used."""
    text.model.eval()
    tokens = tokenizer(["a"])
    try:
        with torch.no_grad():
            output = text.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    except (ValueError, TypeError) as error:
        raise UserError(f"{text.label} ({text.config.model_type}) is not a text encoder") from error
    pooled = getattr(output, "pooler_output", None)
    pooling = asked
    if asked == "auto":
        pooling = "pooler" if pooled is not None and not _has_parametric_pooler(text.model) else "mean"
    if pooling == "pooler":
        if pooled is None:
            raise UserError(
                f"{text.label} has no pooler of its own; text.pooling must be cls, mean or last, got pooler"
            )
        _check_end_token(text, tokenizer)
    else:
        drop_pooler(text.model)
    return pooling, pool_text(output, tokens.attention_mask, pooling).shape[1]


def _check_end_token(text: _Tower, tokenizer: HuggingFaceTokenizer) -> None:
    """Refuse a fresh CLIP text model that would be pooled anywhere but at the end token."""
    if text.config.model_type != "clip_text_model" or not text.label.startswith("a fresh"):
        return
    end = tokenizer.backend.eos_token_id
    if not ends_texts_with(tokenizer.backend, end if end is not None else tokenizer.backend.sep_token_id):
        raise UserError(
            f"{text.label} is pooled at the end token, which its tokenizer does not put at the end of a text"
        )
    if text.config.eos_token_id == 2:
        # transformers takes this id for the mistake in CLIP's first configurations and pools at the largest id.
        raise UserError(
            f"{text.label} cannot have an end token with id 2, which transformers reads as the largest id of a text;"
            " use a tokenizer whose end token has another id, or text.pooling: last"
        )


def drop_pooler(model: PreTrainedModel) -> None:
    """Take away a pooler with weights, as BERT and ViT have it, where the architecture can do without."""
    if _has_parametric_pooler(model) and "add_pooling_layer" in inspect.signature(type(model).__init__).parameters:
        model.pooler = None


def _has_parametric_pooler(model: PreTrainedModel) -> bool:
    pooler = getattr(model, "pooler", None)
    return isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters())
