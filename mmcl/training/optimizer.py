"""The recipe's optimiser, with the usual exclusions."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from mmcl.recipe import Recipe
from mmcl.training.lars import LARS
from mmcl.training.tuning import LRFactors


def parameter_groups(
    module: nn.Module, weight_decay: float, lr_factors: LRFactors = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Split the trained parameters by weight decay and by the factor on their learning rate.

    Tensors of fewer than two dimensions (norms, biases, the temperature) take no decay.

    Returns:
        Groups with ``name``, ``params``, ``parameter_names``, ``weight_decay`` and ``lr_factor``, the largest factor
        first.
    """
    members: dict[tuple[float, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = (lr_factors.get(id(parameter), 1.0), parameter.dim() >= 2)
            members.setdefault(key, []).append((name, parameter))
    return [
        {
            "name": ("decay" if is_decayed else "no_decay") + ("" if factor == 1 else f", lr x {factor:.3g}"),
            "params": [parameter for _, parameter in members[factor, is_decayed]],
            "parameter_names": [name for name, _ in members[factor, is_decayed]],
            "weight_decay": weight_decay if is_decayed else 0.0,
            "lr_factor": factor,
        }
        for factor, is_decayed in sorted(members, reverse=True)
    ]


def build_optimizer(
    module: nn.Module, recipe: Recipe, lr_factors: LRFactors = MappingProxyType({})
) -> torch.optim.Optimizer:
    """Make the recipe's optimiser over ``module`` at its peak learning rate, times a parameter's factor.

    AdamW and SGD are fused, which for AdamW is several times faster on CPUs and GPUs; LARS goes over all tensors of a
    group at once. AdamW's weight decay is decoupled; that of SGD and LARS is added to the gradient.
    """
    groups, lr = parameter_groups(module, recipe.weight_decay, lr_factors), recipe.peak_lr
    set_lr(groups, lr)
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
    """Set the learning rate of every group, times its factor."""
    for group in groups:
        group["lr"] = lr * group["lr_factor"]
