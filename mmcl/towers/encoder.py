"""One encoder: a transformers model of pictures or of texts, loaded or built, with its pooling settled."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from mmcl.errors import UserError
from mmcl.recipe_model import STATIC, ImageTowerConfig, TextTowerConfig
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
from mmcl.towers.quick_gelu import check_transformers_clip
from mmcl.towers.sentence_model import UnknownModulesError
from mmcl.towers.source import TowerSource, locate_tower

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageEncoder:
    """A vision model with what belongs to it.

    Attributes:
        model: takes ``pixel_values``.
        pooling: as `mmcl.towers.pooling.pool_image` takes it.
        dim: width of the pooled features.
        preprocessing: what pictures go through.
        label: what to call it in messages and on the card.
    """

    model: PreTrainedModel
    pooling: str
    dim: int
    preprocessing: ImagePreprocessing
    label: str


@dataclass(frozen=True)
class TextEncoder:
    """A text model with what belongs to it.

    Attributes:
        model: takes ``input_ids`` and ``attention_mask``.
        pooling: as `mmcl.towers.pooling.pool_text` takes it.
        dim: width of the pooled features.
        tokenizer: what texts go through.
        label: what to call it in messages and on the card.
        head: folders of the layers of a kept head that goes with the encoder, in order.
    """

    model: PreTrainedModel
    pooling: str
    dim: int
    tokenizer: HuggingFaceTokenizer
    label: str
    head: tuple[Path, ...]


def load_image_encoder(tower: ImageTowerConfig) -> ImageEncoder:
    """Return the image encoder that a recipe describes; random weights from torch's generator.

    Raises:
        UserError: it is none, cannot be had, or does not fit its pooling or image size.
    """
    source = None if tower.name is None else locate_tower(tower.name, "image")
    image = _load_backbone(tower, source, "vision")
    if source is None:
        found = default_preprocessing(image.config)
    else:
        found = source.preprocessing or load_preprocessing(source.place, image.config)
    preprocessing = found.with_fields(tower.image_size, tower.image_mean, tower.image_std)
    if tower.resize_to is not None:
        preprocessing = preprocessing.scaled_to(tower.resize_to)
    pooling, dim = _settle_image_pooling(image, _asked_pooling(tower, image), preprocessing.size)
    return ImageEncoder(image.model, pooling, dim, preprocessing, image.label)


def load_text_encoder(tower: TextTowerConfig) -> TextEncoder:
    """Return the text encoder that a recipe describes; random weights from torch's generator.

    Raises:
        UserError: it is none, cannot be had, or does not fit its pooling, text length or tokenizer.
    """
    source = None if tower.name is None else locate_tower(tower.name, "text")
    if (source is not None and source.is_static) or (tower.config or {}).get("model_type") == STATIC:
        raise UserError(
            f"{tower.name or 'a static text tower'} is a table of token vectors, which stands alone: model: {{text:"
            " ...}; a pair needs a transformers text model"
        )
    backend = _load_tokenizer(tower, source)
    extra = None
    if tower.config is not None:
        num_ids = max(backend.get_vocab().values()) + 1
        extra = {"vocab_size": num_ids, **special_token_ids(backend)}
    text = _load_backbone(tower, source, "text", extra)
    check_ids_fit(backend, num_token_embeddings(text.model, text.label), text.label)
    max_length = longest_text(backend, num_positions(text.model), tower.max_length, text.label)
    tokenizer = HuggingFaceTokenizer(backend, max_length)
    pooling, dim = _settle_text_pooling(text, _asked_pooling(tower, text), tokenizer)
    if source is not None:
        tokenizer.prompts = source.prompts
    head = source.head if source is not None and tower.pretrained else ()
    return TextEncoder(text.model, pooling, dim, tokenizer, text.label, head)


def _load_tokenizer(tower: TextTowerConfig, source: TowerSource | None) -> PreTrainedTokenizerBase:
    if source is not None:
        return source.load_tokenizer(tower.tokenizer)
    assert tower.tokenizer is not None
    return load_tokenizer(tower.tokenizer)


@dataclass(frozen=True)
class _Backbone:
    """A model with what is known about it before it is pooled.

    Attributes:
        trained_pooling: the pooling that its run trained it with; None where nobody says.
    """

    model: PreTrainedModel
    config: PreTrainedConfig
    has_trained_pooler: bool
    label: str
    trained_pooling: str | None = None


def _asked_pooling(tower: ImageTowerConfig | TextTowerConfig, backbone: _Backbone) -> str:
    """Return the recipe's pooling, or that which the model was trained with.

    Raises:
        UserError: the latter is none of ours.
    """
    trained, part = backbone.trained_pooling, "image" if isinstance(tower, ImageTowerConfig) else "text"
    if tower.pooling != "auto":
        if tower.pretrained and trained not in (None, tower.pooling):
            _log.warning(
                "%s was trained with pooling %s, and %s.pooling is %s, with which its embeddings are much worse until"
                " it is trained so; auto takes its own",
                backbone.label,
                trained,
                part,
                tower.pooling,
            )
        return tower.pooling
    known = get_args(type(tower).model_fields["pooling"].annotation)
    if trained is not None and trained not in known:
        raise UnknownModulesError(
            f"{backbone.label} was trained with pooling {trained}, which is not known here; to train it with another,"
            f" say {part}.pooling: {', '.join(name for name in known if name != 'auto')}"
        )
    return trained or "auto"


def _load_backbone(
    tower: ImageTowerConfig | TextTowerConfig,
    source: TowerSource | None,
    part: str,
    extra: dict[str, Any] | None = None,
) -> _Backbone:
    """Load or build one backbone; of a joint model only ``part``, its vision or its text."""
    if source is None:
        assert tower.config is not None
        config = config_from_dict(tower.config, extra)
        _check_encoder(config, f"a fresh {config.model_type}")
        return _Backbone(build_backbone(config), config, False, f"a fresh {config.model_type}")
    assert tower.name is not None
    whole = load_config(source.place)
    config = getattr(whole, f"{part}_config", whole)
    _check_encoder(config, tower.name)
    is_dual = whole.model_type == "vision-text-dual-encoder"
    # A dual encoder knows no pooling but its towers' own.
    pooling = "pooler" if is_dual else source.pooling
    if not tower.pretrained:
        return _Backbone(build_backbone(config), config, False, tower.name, pooling)
    if is_dual:
        # Its towers' weights have other names than those of the same models alone.
        model, missing = load_backbone(source.place, whole)
        refuse_missing(missing, tower.name)
        model = getattr(model, f"{part}_model")
        return _Backbone(model, model.config, True, tower.name, pooling)
    check_transformers_clip(source.place, whole)
    model, missing = load_backbone(source.place, config)
    refuse_missing({name for name in missing if not name.startswith("pooler.")}, tower.name)
    return _Backbone(model, config, not missing, tower.name, pooling)


def _check_encoder(config: PreTrainedConfig, label: str) -> None:
    if hasattr(config, "text_config") and hasattr(config, "vision_config"):
        raise UserError(f"{label} is a joint model; give it as model: {{config: ...}}, or the config of one tower")
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{label} is an encoder and a decoder ({config.model_type}); a tower is an encoder alone")
    if hasattr(config, "use_cache"):
        # A cache of keys and values is for generating text; a tower never looks at it again.
        config.use_cache = False


def _settle_image_pooling(image: _Backbone, asked: str, size: int) -> tuple[str, int]:
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


def _try_image(image: _Backbone, size: int) -> Any:
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


def _settle_text_pooling(text: _Backbone, asked: str, tokenizer: HuggingFaceTokenizer) -> tuple[str, int]:
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
                f"{text.label} has no pooler of its own; text.pooling must be cls, mean, max or last, got pooler"
            )
        _check_end_token(text, tokenizer)
    else:
        drop_pooler(text.model)
    return pooling, pool_text(output, tokens.attention_mask, pooling).shape[1]


def _check_end_token(text: _Backbone, tokenizer: HuggingFaceTokenizer) -> None:
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
