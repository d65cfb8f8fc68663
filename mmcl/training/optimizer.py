"""AdamW with the usual exclusions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from mmcl.recipe import Recipe


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trained parameters by weight decay.

    Tensors of fewer than two dimensions (norms, biases, the temperature) take no decay.

    Returns:
        Groups with ``name``, ``params``, ``parameter_names`` and ``weight_decay``; empty ones are left out.
    """
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    decayed = [(name, parameter) for name, parameter in trained if parameter.dim() >= 2]
    exempt = [(name, parameter) for name, parameter in trained if parameter.dim() < 2]
    groups = [("decay", decayed, weight_decay), ("no_decay", exempt, 0.0)]
    return [
        {
            "name": name,
            "params": [parameter for _, parameter in members],
            "parameter_names": [parameter_name for parameter_name, _ in members],
            "weight_decay": decay,
        }
        for name, members, decay in groups
        if members
    ]


def build_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Make the recipe's AdamW over ``module``, fused, which is several times faster on CPUs and GPUs."""
    groups = parameter_groups(module, recipe.weight_decay)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=True)


def set_lr(groups: Iterable[dict[str, Any]], lr: float) -> None:
    """Set the learning rate of every group."""
    for group in groups:
        group["lr"] = lr
