"""How much of a model is trained: locked towers, last blocks, low-rank updates, rates by depth, the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmcl.errors import UserError
from mmcl.model import TwoTower
from mmcl.recipe_tuning import TowerTuning, TuningConfig
from mmcl.towers.layers import TowerLayers, layers_of
from mmcl.towers.lora import add_lora
from mmcl.towers.open_clip import OpenClipTowers
from mmcl.towers.pair import PairTowers
from mmcl.towers.towers import MODALITIES, Modality, Towers, parameters_behind, probe_one

LRFactors = Mapping[int, float]
"""By id of a parameter, what its learning rate is multiplied with; 1 where it is not named."""


def tune(model: TwoTower, config: TuningConfig, seed: int) -> LRFactors:
    """Lock what is not to be trained, add low-rank updates, and return the factors on learning rates.

    Args:
        model: changed in place.
        config: the recipe's ``tuning``.
        seed: of the low-rank updates.

    Raises:
        UserError: a tower that is not there, has fewer blocks or none, projections that are none, or nothing is left to
            train.
    """
    towers, modes = model.towers, {modality: _mode_of(modality, config) for modality in MODALITIES}
    for modality, mode in modes.items():
        if mode != "full":
            towers.require(modality)
    in_part = [one for one in towers.modalities if config.layer_decay < 1 or modes[one] not in ("full", "locked")]
    # All of them first: what is locked is not found any more.
    layers = {modality: layers_of(towers, modality) for modality in in_part}
    whole = [one for one in towers.modalities if isinstance(modes[one], str) and modes[one] != "full"]
    used = {modality: parameters_behind(probe_one(towers, modality)[1]) for modality in whole}
    new = _new_parameters(towers)
    if config.projection_lr_factor != 1 and not new:
        raise UserError("tuning.projection_lr_factor: only a pair, model: {image: ..., text: ...}, has new projections")
    for modality in towers.modalities:
        mode = modes[modality]
        if mode != "full":
            locked = used[modality] if isinstance(mode, str) else _before_last(modality, layers[modality], mode)
            for parameter in towers.parameters():
                if id(parameter) in locked - new:
                    parameter.requires_grad_(False)
    updated = [block for modality, one in layers.items() if modes[modality] == "lora" for block in one.blocks]
    if updated:
        add_lora(towers, updated, config.lora, seed)
    if not any(parameter.requires_grad for parameter in towers.parameters()):
        raise UserError("tuning leaves nothing of the model to train: image and text are both locked")
    lock(model)
    if config.gradient_checkpointing:
        _enable_checkpointing(towers)
    factors = dict.fromkeys(new, config.projection_lr_factor)
    if config.layer_decay < 1:
        for one in layers.values():
            factors |= {key: value for key, value in _factors(one, config.layer_decay).items() if key not in new}
    return factors


def lock(model: TwoTower) -> None:
    """Keep in evaluation mode what has parameters and trains none; again after modules have been replaced."""
    model.locked = tuple(_locked_modules(model.towers))


def _mode_of(modality: Modality, config: TuningConfig) -> TowerTuning:
    return config.image if modality == "image" else config.text


def _new_parameters(towers: Towers) -> set[int]:
    """A pair's projections: no checkpoint has them, and locking them would keep what is random."""
    if not isinstance(towers, PairTowers):
        return set()
    return {id(projection.weight) for projection in (towers.image_projection, towers.text_projection)}


def _before_last(modality: Modality, layers: TowerLayers, count: int) -> set[int]:
    num_blocks = len(layers.blocks)
    if count > num_blocks:
        raise UserError(f"tuning.{modality}: the tower has {num_blocks} blocks, got {count}")
    return {key for key, depth in layers.depths.items() if depth <= num_blocks - count}


def _locked_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules that have parameters and train none."""
    parameters = list(module.parameters())
    if not parameters:
        return
    if not any(parameter.requires_grad for parameter in parameters):
        yield module
        return
    for child in module.children():
        yield from _locked_modules(child)


def _enable_checkpointing(towers: Towers) -> None:
    if isinstance(towers, OpenClipTowers):
        towers.model.set_grad_checkpointing(True)
        return
    models = [module for module in towers.modules() if isinstance(module, PreTrainedModel)]
    outermost = [one for one in models if not any(one is not other and one in set(other.modules()) for other in models)]
    for model in outermost:
        if not model.supports_gradient_checkpointing:
            raise UserError(
                f"tuning.gradient_checkpointing: {type(model).__name__} does not support it, set it to false"
            )
        # Renamed in transformers 5.2x.
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})


def _factors(layers: TowerLayers, decay: float) -> dict[int, float]:
    """Return ``decay ** k`` for what lies ``k`` blocks before the end; updates within a block are the block's."""
    factors = {key: decay ** (layers.last_depth - depth) for key, depth in layers.depths.items()}
    for number, block in enumerate(layers.blocks):
        factors |= {id(parameter): decay ** (len(layers.blocks) - number) for parameter in block.parameters()}
    return factors


class StartingPoint:
    """Pulls the towers back towards the weights they started from (L2-SP, arXiv:1802.01483, equation 3).

    After each update ``w <- w - lr * strength * (w - w_0)``: the gradient of the paper's penalty ``strength / 2 *
    |w - w_0|^2``, taken beside the optimiser as AdamW takes its decay, so that its moments do not scale it.

    Args:
        towers: at their start, on their device; what is trained of them is remembered.
        strength: of the pull.
        factors: on the learning rate, by parameter.
    """

    def __init__(self, towers: Towers, strength: float, factors: LRFactors) -> None:
        self.strength = strength
        self.starts: list[tuple[nn.Parameter, Tensor, float]] = [
            (parameter, parameter.detach().clone(), factors.get(id(parameter), 1.0))
            for parameter in towers.parameters()
            if parameter.requires_grad
        ]

    @torch.no_grad()
    def pull(self, lr: float) -> None:
        """Take the step back that belongs to an update at rate ``lr``."""
        for parameter, start, factor in self.starts:
            parameter.lerp_(start, min(1.0, lr * factor * self.strength))
