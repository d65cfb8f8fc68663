"""What a recipe may say of the model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mmcl.recipe_fields import Positive
from mmcl.section import Section

DEFAULT_EMBEDDING_DIM = 512
STATIC = "static"
"""The ``model_type`` of a text tower that is a table of token vectors, which transformers does not have."""


class ImageTowerConfig(Section):
    """One image encoder. Give ``name`` for an existing one, ``config`` for a fresh one."""

    name: str | None = None
    """Hub id or local folder of a transformers vision model, or a run, whose trained image tower is taken."""
    pretrained: bool = True
    """Load the weights of ``name``; false takes its architecture with random weights."""
    config: dict[str, Any] | None = None
    """A transformers configuration, ``model_type`` first, for a tower with random weights."""
    pooling: Literal["auto", "pooler", "cls", "mean"] = "auto"
    """How the feature map becomes one vector: the model's own pooler, the first token, or the mean. ``auto``: what a
    run was trained with; else the model's own pooler where it has a trained or parameter-free one, else the mean."""
    image_size: int | None = Field(default=None, gt=0)
    """Side of the square input in pixels; by default what the model's own preprocessing says."""
    resize_to: int | None = Field(default=None, gt=0)
    """Side in pixels to which a picture is scaled before its centre is cut out, such as 256 for an ``image_size`` of
    224; by default what the model's own preprocessing says, and with ``image_size`` just that."""
    image_mean: tuple[float, float, float] | None = None
    """Mean per RGB channel subtracted from pixels in [0, 1]; by default the model's own, else 0.5."""
    image_std: tuple[Positive, Positive, Positive] | None = None
    """Standard deviation per RGB channel; by default the model's own, else 0.5."""

    @model_validator(mode="after")
    def _names_one_architecture(self) -> ImageTowerConfig:
        return _check_name_or_config(self)

    @model_validator(mode="after")
    def _covers_the_input(self) -> ImageTowerConfig:
        if self.resize_to is not None and self.image_size is not None and self.resize_to < self.image_size:
            raise ValueError(f"resize_to must be at least image_size, {self.image_size}, got {self.resize_to}")
        return self


class TextTowerConfig(Section):
    """One text encoder. Give ``name`` for an existing one, ``config`` and ``tokenizer`` for a fresh one."""

    name: str | None = None
    """Hub id or local folder of a transformers text model, or a run, whose trained text tower is taken."""
    pretrained: bool = True
    """Load the weights of ``name``; false takes its architecture with random weights."""
    config: dict[str, Any] | None = None
    """A transformers configuration, ``model_type`` first, for a tower with random weights. The vocabulary size and the
    special token ids are the tokenizer's. ``{model_type: static, embedding_dim: 100}`` is a table of token vectors, the
    mean of which is the text's, for a model of texts alone."""
    pooling: Literal["auto", "pooler", "cls", "mean", "max", "last"] = "auto"
    """How token features become one vector: the model's own pooler, the first token as the last layer leaves it
    (SimCSE's ``cls_before_pooler``), the mean or the maximum over real tokens, or the last real token. ``auto``: what a
    run or a model of sentence-transformers was trained with; else the model's own pooler for CLIP-like text models,
    else the mean. Another one than that is warned of."""
    tokenizer: str | None = None
    """Hub id, local folder, or the name of a packaged tokenizer (``glyphs``, ``zh-en``); by default that of
    ``name``."""
    max_length: int | None = Field(default=None, gt=1)
    """Longest text in tokens, special tokens included; longer ones are cut, and counted in the log. By default what
    the model allows."""

    @model_validator(mode="after")
    def _names_one_architecture(self) -> TextTowerConfig:
        if self.config is not None and self.tokenizer is None:
            raise ValueError("a text tower from config needs a tokenizer, for example tokenizer: glyphs")
        return _check_name_or_config(self)


def _check_name_or_config(tower: Any) -> Any:
    if (tower.name is None) == (tower.config is None):
        raise ValueError("give either name (an existing model) or config (a fresh one)")
    if tower.config is not None and "model_type" not in tower.config:
        raise ValueError("config needs a model_type, for example model_type: bert")
    return tower


class ModelConfig(Section):
    """The towers: one joint model by ``name``, a pair by ``image`` and ``text``, or one of the two alone."""

    name: str | None = None
    """A joint image-text model: a hub id, a local folder, or open_clip's ``ARCH,TAG``; or a run of any form, or a text
    model of sentence-transformers."""
    pretrained: bool = True
    """Load the weights of ``name``; false takes its architecture with random weights."""
    config: dict[str, Any] | None = None
    """A transformers configuration of a joint model (``model_type: clip``) for random weights."""
    tokenizer: str | None = None
    """The tokenizer of a joint model from ``config``: hub id, folder, or packaged name."""
    image: ImageTowerConfig | None = None
    """The image encoder of a pair, or the only one. Short form: its name."""
    text: TextTowerConfig | None = None
    """The text encoder of a pair, or the only one. Short form: its name."""
    prompts: dict[str, str] | None = None
    """Short texts that go before the model's texts, by name, and are stored with it: ``{query: "query: ", document:
    "passage: "}``. Which are used in training is for ``data.prompts`` to say. By default those that the model comes
    with."""
    embedding_dim: int | None = Field(default=None, gt=0)
    """Width of the shared space of a pair, by default 512; a joint model has its own, and the embedding of a lone tower
    is its features."""
    temperature: float | None = Field(default=None, gt=0)
    """Initial temperature; by default the checkpoint's own, else 0.07."""
    learn_temperature: bool = True
    """Train the temperature; false keeps it as it is."""
    max_logit_scale: float = Field(default=100.0, gt=0)
    """Upper clamp of 1 / temperature."""
    batch_norm: Literal["global", "local"] = "global"
    """Batch norm statistics over the batch of all processes, or of each process alone (another objective than on one
    process, cheaper)."""

    @field_validator("image", "text", mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _pair_has_a_width(cls, value: Any) -> Any:
        # Filled in here, so that the resolved recipe says it.
        is_pair = isinstance(value, dict) and value.get("image") is not None and value.get("text") is not None
        if is_pair and value.get("embedding_dim") is None:
            return {**value, "embedding_dim": DEFAULT_EMBEDDING_DIM}
        return value

    @model_validator(mode="after")
    def _starts_under_the_clamp(self) -> ModelConfig:
        if self.temperature is not None and self.temperature * self.max_logit_scale < 1 - 1e-9:
            raise ValueError(
                f"temperature must be >= {1 / self.max_logit_scale:.4g}, which is 1 / max_logit_scale, got"
                f" {self.temperature}"
            )
        return self

    @model_validator(mode="after")
    def _joint_or_towers(self) -> ModelConfig:
        towers = [tower for tower in (self.image, self.text) if tower is not None]
        if sum([self.name is not None, self.config is not None, bool(towers)]) != 1:
            raise ValueError(
                "give exactly one of: name (a joint model), config (a fresh joint model), image and text (a pair, or"
                " one of them alone)"
            )
        if len(towers) == 1 and self.embedding_dim is not None:
            raise ValueError(
                f"embedding_dim is the width of a pair's shared space, got {self.embedding_dim} for one tower alone,"
                " whose embedding is its features; leave it out"
            )
        if self.config is not None and self.tokenizer is None:
            raise ValueError("a joint model from config needs a tokenizer")
        return self
