"""The model that is trained, judged and exported: two towers that end in one space, or one, and a temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmcl.batch import TokenBatch
from mmcl.errors import UserError
from mmcl.recipe_model import ImageTowerConfig, ModelConfig, TextTowerConfig
from mmcl.text.prompts import NO_PROMPTS, Prompts
from mmcl.towers.by_length import encode_by_length
from mmcl.towers.description import Description, is_saved
from mmcl.towers.joint import build_joint
from mmcl.towers.open_clip import build_open_clip, is_open_clip_name
from mmcl.towers.pair import build_pair
from mmcl.towers.saved import load_saved
from mmcl.towers.sentence_model import find_sentence_model
from mmcl.towers.single import build_single
from mmcl.towers.source import resolve_folder
from mmcl.towers.towers import LoadedTowers

DEFAULT_TEMPERATURE = 0.07


@dataclass(frozen=True)
class Encoded:
    """What one tower makes of a batch.

    Attributes:
        features: ``(B, W)`` pooled tower features, before the projection, in the dtype the tower computes in.
        projected: ``(B, D)`` in the shared space, before it is normalised, float32 (float64 stays what it is).
        embeddings: ``(B, D)``, the same with unit norm.
    """

    features: Tensor
    projected: Tensor
    embeddings: Tensor

    @classmethod
    def of(cls, features: Tensor, projected: Tensor) -> Encoded:
        """Normalise what a tower has projected, in float32 at least."""
        # Half precision cannot tell apart cosines that a scale of 100 must; float64 stays what it is.
        wide = projected if projected.dtype == torch.float64 else projected.float()
        with torch.autocast(wide.device.type, enabled=False):
            return cls(features, wide, F.normalize(wide, dim=-1))

    def rows(self, index: Tensor) -> Encoded:
        """Return some of the rows."""
        return Encoded(self.features[index], self.projected[index], self.embeddings[index])

    def split(self, num_parts: int) -> tuple[Encoded, ...]:
        """Return the rows in parts of equal numbers, in order."""
        tensors = (self.features, self.projected, self.embeddings)
        return tuple(Encoded(*parts) for parts in zip(*(one.chunk(num_parts) for one in tensors), strict=True))


class LogitScale(nn.Module):
    """1 / temperature, learnt as its logarithm.

    Args:
        log_scale: ln(1 / temperature) to start from.
        learnable: a parameter; else a buffer.
        max_scale: upper clamp of 1 / temperature; a start above it (some SigLIP checkpoints') raises it to itself.
    """

    log_scale: Tensor

    def __init__(self, log_scale: float, learnable: bool = True, max_scale: float = 100.0) -> None:
        super().__init__()
        start = torch.tensor(log_scale, dtype=torch.float32)
        if learnable:
            self.log_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start)
        self.max_log_scale = max(math.log(max_scale), float(start))

    def forward(self) -> Tensor:
        """Return the scale, a float32 scalar even under autocast."""
        with torch.autocast(self.log_scale.device.type, enabled=False):
            return self.log_scale.exp()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring the scale back under its upper clamp; call it after every optimiser step."""
        self.log_scale.clamp_(max=self.max_log_scale)


class TwoTower(nn.Module):
    """An image tower and a text tower with one space, one temperature, and what pictures and texts go through.

    Either tower may be missing.

    Args:
        loaded: the towers, with their preprocessing and tokenizer.
        logit_scale: the temperature.

    Attributes:
        preprocessing: what pictures go through; None exactly where there is no image tower.
        tokenizer: what texts go through; None exactly where there is no text tower.
        locked: modules that stay in evaluation mode in training too.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, loaded: LoadedTowers, logit_scale: LogitScale) -> None:
        super().__init__()
        self.towers = loaded.towers
        self.preprocessing = loaded.preprocessing
        self.tokenizer = loaded.tokenizer
        self.origin = loaded.origin
        self.logit_scale = logit_scale
        self.locked: tuple[nn.Module, ...] = ()
        bias = loaded.logit_bias
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(bias, dtype=torch.float32))
        if self.preprocessing is not None:
            mean, std = self.preprocessing.pixel_statistics()
            self.register_buffer("pixel_mean", mean, persistent=False)
            self.register_buffer("pixel_std", std, persistent=False)

    @property
    def embedding_dim(self) -> int:
        """Width of the shared space; of a lone tower, that of its features."""
        return self.towers.embedding_dim

    @property
    def has_image_tower(self) -> bool:
        """True when it encodes pictures."""
        return "image" in self.towers.modalities

    @property
    def has_text_tower(self) -> bool:
        """True when it encodes texts."""
        return "text" in self.towers.modalities

    @property
    def prompts(self) -> Prompts:
        """What may be put before texts; none where there is no text tower."""
        return NO_PROMPTS if self.tokenizer is None else self.tokenizer.prompts

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.logit_scale.log_scale.device

    def train(self, mode: bool = True) -> TwoTower:
        """Set the mode, of all but what is locked."""
        super().train(mode)
        for module in self.locked:
            module.eval()
        return self

    def encode_image(self, images: Tensor) -> Encoded:
        """Encode ``(B, 3, H, W)`` uint8 pictures; they are normalised here, on their device.

        Raises:
            UserError: there is no image tower.
        """
        self.towers.require("image")
        assert self.preprocessing is not None
        pixels = self.preprocessing.normalise(images, self.pixel_mean, self.pixel_std)
        return Encoded.of(*self.towers.encode_image(pixels))

    def encode_text(self, tokens: TokenBatch) -> Encoded:
        """Encode a batch of ``tokenizer``; of its padding little, where the tower masks it.

        Raises:
            UserError: there is no text tower.
        """
        self.towers.require("text")
        return Encoded.of(*encode_by_length(self.towers, tokens))

    def keep_text_head(self) -> None:
        """Add the head that supervised SimCSE keeps at test time (tanh of a linear layer), if there is none yet.

        From then on the text embeddings are the head's output; ``features`` stay what they were. Its weights are drawn
        from torch's generator.

        Raises:
            UserError: the model is not a transformers text model alone.
        """
        self.towers.keep_text_head()


def build_model(config: ModelConfig, seed: int = 0) -> TwoTower:
    """Return the model that a recipe describes, on the CPU in float32 and in training mode.

    Args:
        config: the recipe's ``model``.
        seed: of the random weights; the caller's random state is left alone.

    Raises:
        UserError: a model that cannot be had, or parts that do not fit each other.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the caller's GPUs as well.
        torch.default_generator.manual_seed(seed)
        loaded = _load(config)
    if config.prompts is not None:
        _set_prompts(loaded, config.prompts)
    log_scale = -math.log(DEFAULT_TEMPERATURE) if loaded.log_scale is None else loaded.log_scale
    if config.temperature is not None:
        log_scale = -math.log(config.temperature)
    return TwoTower(loaded, LogitScale(log_scale, config.learn_temperature, config.max_logit_scale))


def _load(config: ModelConfig) -> LoadedTowers:
    if config.image is not None and config.text is not None:
        return build_pair(config)
    lone = config.image or config.text
    if lone is not None:
        return build_single(lone)
    if config.name is None:
        return build_joint(config)
    name = resolve_folder(config.name)
    if is_saved(name):
        return load_saved(name) if config.pretrained else _rebuild(name, config)
    if is_open_clip_name(name):
        return build_open_clip(name, config.pretrained)
    if find_sentence_model(name) is not None:
        return build_single(TextTowerConfig(name=name, pretrained=config.pretrained, tokenizer=config.tokenizer))
    return build_joint(config.model_copy(update={"name": name}))


def _set_prompts(loaded: LoadedTowers, prompts: Mapping[str, str]) -> None:
    if loaded.tokenizer is None:
        raise UserError("model.prompts go before texts, and the model has no text tower; leave them out")
    loaded.tokenizer.prompts = Prompts(prompts)


def _rebuild(name: str, config: ModelConfig) -> LoadedTowers:
    """Return the architecture of an exported folder with random weights."""
    description = Description.read(Path(name))
    if description.form == "router":
        raise UserError(f"pretrained: false needs one architecture, and {name} is a pair; give image and text instead")
    if description.form == "static" or (description.single or {}).get("modality") == "text":
        return build_single(TextTowerConfig(name=name, pretrained=False))
    if description.form == "single":
        return build_single(ImageTowerConfig(name=name, pretrained=False))
    if is_open_clip_name(name):
        return build_open_clip(name, pretrained=False)
    return build_joint(config.model_copy(update={"name": name}))
