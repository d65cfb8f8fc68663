"""The recipe's optimiser, with the usual exclusions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from mmcl.recipe import Recipe
from mmcl.training.lars import LARS


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


def build_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the recipe's optimiser over ``module`` at its peak learning rate.

    AdamW and SGD are fused, which for AdamW is several times faster on CPUs and GPUs; LARS goes over all tensors of a
    group at once. AdamW's weight decay is decoupled; that of SGD and LARS is added to the gradient.
    """
    groups, lr = parameter_groups(module, recipe.weight_decay), recipe.peak_lr
    if recipe.optimizer == "adamw":
        assert recipe.betas is not None
        assert recipe.eps is not None
        return torch.optim.AdamW(groups, lr=lr, betas=recipe.betas, eps=recipe.eps, fused=True)
    assert recipe.momentum is not None
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum, fused=True)
    assert recipe.trust_coefficient is not None
    return LARS(groups, lr=lr, momentum=recipe.momentum, trust_coefficient=recipe.trust_coefficient)


def set_lr(groups: Iterable[dict[str, Any]], lr: float) -> None:
    """Set the learning rate of every group."""
    for group in groups:
        group["lr"] = lr
