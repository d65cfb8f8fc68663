"""The model that is trained, judged and exported: two towers that end in one space, and a temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmcl.batch import TokenBatch
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_model import ModelConfig
from mmcl.towers.joint import build_joint
from mmcl.towers.open_clip import build_open_clip, is_open_clip_name
from mmcl.towers.pair import build_pair
from mmcl.towers.saved import Description, is_saved, load_saved
from mmcl.towers.towers import LoadedTowers

DEFAULT_TEMPERATURE = 0.07


@dataclass(frozen=True)
class Encoded:
    """What one tower makes of a batch.

    Attributes:
        features: ``(B, W)`` pooled tower features, before the projection, in the dtype the tower computes in.
        embeddings: ``(B, D)`` in the shared space, unit norm, float32.
    """

    features: Tensor
    embeddings: Tensor


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

    Args:
        loaded: the towers, with their preprocessing and tokenizer.
        logit_scale: the temperature.
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
        bias = loaded.logit_bias
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(bias, dtype=torch.float32))
        mean, std = self.preprocessing.pixel_statistics()
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)

    @property
    def embedding_dim(self) -> int:
        """Width of the shared space."""
        return self.towers.embedding_dim

    def encode_image(self, images: Tensor) -> Encoded:
        """Encode ``(B, 3, H, W)`` uint8 pictures; they are normalised here, on their device."""
        pixels = self.preprocessing.normalise(images, self.pixel_mean, self.pixel_std)
        return _encoded(*self.towers.encode_image(pixels))

    def encode_text(self, tokens: TokenBatch) -> Encoded:
        """Encode a batch of ``tokenizer``."""
        return _encoded(*self.towers.encode_text(tokens))


def _encoded(features: Tensor, projected: Tensor) -> Encoded:
    # Half precision cannot tell apart cosines that a scale of 100 must; float64 stays what it is.
    wide = projected if projected.dtype == torch.float64 else projected.float()
    with torch.autocast(wide.device.type, enabled=False):
        return Encoded(features, F.normalize(wide, dim=-1))


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
    log_scale = -math.log(DEFAULT_TEMPERATURE) if loaded.log_scale is None else loaded.log_scale
    if config.temperature is not None:
        log_scale = -math.log(config.temperature)
    return TwoTower(loaded, LogitScale(log_scale, config.learn_temperature, config.max_logit_scale))


def _load(config: ModelConfig) -> LoadedTowers:
    if config.image is not None:
        return build_pair(config)
    if config.name is None:
        return build_joint(config)
    name = resolve_folder(config.name)
    if is_saved(name) and config.pretrained:
        return load_saved(name)
    if is_saved(name) and Description.read(Path(name)).form == "router":
        raise UserError(f"pretrained: false needs one architecture, and {name} is a pair; give image and text instead")
    if is_open_clip_name(name):
        return build_open_clip(name, config.pretrained)
    return build_joint(config.model_copy(update={"name": name}))


def resolve_folder(name: str) -> str:
    """Return the folder of the model when ``name`` is that of a run, else ``name``.

    Raises:
        UserError: a path in a folder that is there, to nothing that is there.
    """
    path = Path(name)
    inside = path / "model"
    if inside.is_dir() and not (path / "config.json").is_file():
        return str(inside)
    if not path.exists() and path.parent != Path() and path.parent.is_dir():
        hint = did_you_mean(name, [str(entry) for entry in path.parent.iterdir() if entry.is_dir()])
        # The hub is not asked for what is plainly meant to be here; its own names have one slash.
        if hint or len(path.parts) > 2:
            raise UserError(f"there is no folder {name}.{hint}")
    return name
