"""A joint transformers model: CLIP, SigLIP, ChineseCLIP, AltCLIP, ALIGN, VisionTextDualEncoder and their like."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from mmcl.batch import TokenBatch
from mmcl.errors import UserError
from mmcl.recipe_model import ModelConfig
from mmcl.text.tokenizer import (
    HuggingFaceTokenizer,
    attends_to_padding,
    check_ids_fit,
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
    longest_text_of_processor,
    num_positions,
    num_token_embeddings,
    refuse_missing,
)
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.quick_gelu import check_transformers_clip
from mmcl.towers.towers import LoadedTowers, Towers, freeze_unused, probe, take_weights


class JointTowers(Towers):
    """A transformers model with ``get_image_features`` and ``get_text_features``.

    Its temperature and bias are taken out of it: there is one of each, and `mmcl.model.TwoTower` has it.

    Args:
        model: the joint model.
        masks_padding: tell it which tokens are padding.
    """

    def __init__(self, model: PreTrainedModel, masks_padding: bool = True) -> None:
        super().__init__()
        self.temperature = _Temperature(model)
        self.model = model
        self.masks_padding = self.skips_padding = masks_padding
        # FLAVA has another name for it.
        self._image_tap = _InputTap(getattr(model, "visual_projection", getattr(model, "image_projection", None)))
        self._text_tap = _InputTap(getattr(model, "text_projection", None))
        if model.config.model_type == "aimv2":
            # transformers forgets it, and with it the causal mask of every batch without padding.
            for layer in model.text_model.encoder.layers:
                layer.attention.is_causal = True

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self._image_tap.features_of(self.model.get_image_features(pixel_values=pixels).pooler_output)

    def encode_text(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        mask = tokens.attention_mask if self.masks_padding else None
        output = self.model.get_text_features(input_ids=tokens.input_ids, attention_mask=mask)
        return self._text_tap.features_of(output.pooler_output)

    def reset(self) -> None:
        take_weights(self.model, build_backbone(self.model.config))

    def state_dict_with(self, log_scale: float, logit_bias: float | None) -> dict[str, Tensor]:
        """Return the joint model's whole state, temperature and bias put back in their places."""
        return {**self.model.state_dict(), **self.temperature.state(log_scale, logit_bias)}


class _Temperature:
    """The temperature and bias of a joint model, taken out of it.

    Attributes:
        log_scale: ln(1 / temperature).
        logit_bias: SigLIP's bias; None where there is none.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.logit_bias: float | None = None
        # ALIGN divides by a temperature where the others multiply by the exponential of a logarithm.
        self._name = "temperature" if hasattr(model, "temperature") else "logit_scale"
        value = getattr(model, self._name, None)
        if not isinstance(value, Tensor):
            raise UserError(
                f"a {model.config.model_type} has no temperature: it was not made to compare pictures with texts; give"
                " a joint model that was, or a pair: model: {image: ..., text: ...}"
            )
        self._shape = value.shape
        self.log_scale = -math.log(value.item()) if self._name == "temperature" else value.item()
        delattr(model, self._name)
        if isinstance(getattr(model, "logit_bias", None), Tensor):
            self.logit_bias = model.logit_bias.item()
            del model.logit_bias

    def state(self, log_scale: float, logit_bias: float | None) -> dict[str, Tensor]:
        """Return the entries that the joint model's state had."""
        value = math.exp(-log_scale) if self._name == "temperature" else log_scale
        state = {self._name: torch.full(self._shape, value)}
        if logit_bias is not None:
            state["logit_bias"] = torch.full(self._shape, logit_bias)
        return state


class _InputTap:
    """Remembers what last went into a projection.

    Every family finds its features in its own way; their projections are the one place that is alike.
    """

    def __init__(self, projection: nn.Module | None) -> None:
        self._features: Tensor | None = None
        if projection is not None:
            projection.register_forward_pre_hook(self._remember)

    def _remember(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features = inputs[0]

    def features_of(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features behind ``projected``: itself, where the model projects nothing; and ``projected``."""
        # Let go of it, or a whole graph would be kept alive until the next batch.
        features, self._features = self._features, None
        if projected.dim() == 3:
            # FLAVA projects every position; what its contrastive loss compares is the first.
            projected, features = projected[:, 0], None if features is None else features[:, 0]
        return (projected if features is None else features), projected


def build_joint(config: ModelConfig) -> LoadedTowers:
    """Return the joint transformers model that ``config.name`` or ``config.config`` describes.

    Raises:
        UserError: it is none, cannot be had, or does not fit its tokenizer or preprocessing.
    """
    if config.config is not None:
        assert config.tokenizer is not None
        backend = load_tokenizer(config.tokenizer)
        fields = {**config.config, "text_config": _fitted(config.config.get("text_config", {}), backend)}
        hf_config, label = config_from_dict(fields), f"a fresh {config.config['model_type']}"
        preprocessing = default_preprocessing(getattr(hf_config, "vision_config", None))
    else:
        assert config.name is not None
        hf_config, label = load_config(config.name), config.name
        check_joint(hf_config, label)
        if config.pretrained:
            check_transformers_clip(config.name, hf_config)
        backend = load_tokenizer(config.tokenizer or config.name)
        preprocessing = load_preprocessing(config.name, getattr(hf_config, "vision_config", None))
    check_joint(hf_config, label)
    model, pretrained = _joint_model(config, hf_config)
    return assemble_joint(model, backend, preprocessing, label, pretrained)


def assemble_joint(
    model: PreTrainedModel, backend: Any, preprocessing: ImagePreprocessing, label: str, pretrained: bool
) -> LoadedTowers:
    """Return a joint model's towers, checked against its tokenizer and preprocessing.

    Args:
        model: the joint model; its temperature is taken out of it.
        backend: its transformers tokenizer.
        preprocessing: what pictures go through.
        label: what to call it in messages.
        pretrained: its temperature and bias are trained ones.

    Raises:
        UserError: they do not fit.
    """
    text_model = getattr(model, "text_model", model)
    check_ids_fit(backend, num_token_embeddings(text_model, label), label)
    max_length = longest_text(backend, num_positions(text_model), None, label)
    max_length = min(max_length, longest_text_of_processor(model.config.model_type) or max_length)
    tokenizer = HuggingFaceTokenizer(backend, max_length, attends_to_padding(model.config.model_type))
    towers = JointTowers(model, tokenizer.masks_padding)
    try:
        outputs = probe(towers, preprocessing.size, tokenizer)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"{label} does not encode texts and pictures of {preprocessing.size} pixels a side: {reason}"
        ) from error
    towers.image_dim, towers.embedding_dim = (rows.shape[1] for rows in outputs["image"])
    towers.text_dim = outputs["text"][0].shape[1]
    freeze_unused(towers, outputs)
    temperature = towers.temperature
    if pretrained:
        log_scale, bias = temperature.log_scale, temperature.logit_bias
        return LoadedTowers(towers, preprocessing, tokenizer, log_scale, bias, label)
    if temperature.logit_bias is None:
        return LoadedTowers(towers, preprocessing, tokenizer, None, None, label)
    # The paper's start (arXiv:2303.15343), which transformers' fresh model does not have.
    return LoadedTowers(towers, preprocessing, tokenizer, math.log(10.0), -10.0, label)


def check_joint(hf_config: PreTrainedConfig, label: str) -> None:
    """Refuse a model that is no joint one, by its configuration.

    Raises:
        UserError: saying what it is.
    """
    if hf_config.model_type == "siglip2":
        raise UserError(
            f"{label} is a SigLIP 2 of variable resolution (NaFlex), which takes each picture in patches and in its own"
            " shape; here every picture is a square. Give the fixed-resolution checkpoint of the same size, such as"
            " google/siglip2-base-patch16-224"
        )
    model_class = MODEL_MAPPING.get(type(hf_config), None)
    if not (hasattr(model_class, "get_image_features") and hasattr(model_class, "get_text_features")):
        raise UserError(
            f"{label} is a {hf_config.model_type}, which does not encode both pictures and texts; give a joint model,"
            " a pair: model: {image: ..., text: ...}, or one of the two alone"
        )


def _joint_model(config: ModelConfig, hf_config: PreTrainedConfig) -> tuple[PreTrainedModel, bool]:
    if config.name is None or not config.pretrained:
        return build_backbone(hf_config), False
    model, missing = load_backbone(config.name, hf_config)
    refuse_missing(missing, config.name, ", ".join(hf_config.architectures or ()))
    return model, True


def _fitted(text_config: dict[str, Any], backend: Any) -> dict[str, Any]:
    """Return a text configuration with the tokenizer's vocabulary."""
    num_ids = max(backend.get_vocab().values()) + 1
    return {**text_config, "vocab_size": num_ids, **special_token_ids(backend)}
