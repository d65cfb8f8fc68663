"""Low-rank updates of a tower's linear layers, through peft, and their merging into the weights (arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from mmcl.errors import UserError
from mmcl.recipe_tuning import LoRAConfig
from mmcl.towers.towers import Towers

Module = TypeVar("Module", bound=nn.Module)
ADAPTER = "mmcl"
LINEAR = (nn.Linear, nn.MultiheadAttention, Conv1D)


def add_lora(towers: Towers, blocks: Sequence[nn.Module], config: LoRAConfig, seed: int) -> None:
    """Give every linear layer within ``blocks`` an update of low rank, of 0 to start with; it alone takes a gradient.

    Args:
        towers: changed in place; what was trained outside of the blocks stays so.
        blocks: of one tower.
        config: rank, scale and dropout.
        seed: of the updates' first factors.

    Raises:
        UserError: peft is not installed, or the blocks have no linear layer.
    """
    try:
        import peft
    except ImportError as error:
        raise UserError("tuning with lora needs peft: pip install 'mmcl[lora]'") from error
    inside = {id(module) for block in blocks for module in block.modules()}
    names = [name for name, module in towers.named_modules() if id(module) in inside and isinstance(module, LINEAR)]
    # A multi-head attention is updated as a whole, its output layer with it.
    whole = {name for name, module in towers.named_modules() if isinstance(module, nn.MultiheadAttention)}
    names = [name for name in names if name.rpartition(".")[0] not in whole]
    if not names:
        raise UserError("tuning with lora needs linear layers in the tower's blocks, and there are none")
    for block in blocks:
        block.requires_grad_(False)
    was_trained = [parameter for parameter in towers.parameters() if parameter.requires_grad]
    adapter = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=names)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        peft.inject_adapter_in_model(adapter, towers, adapter_name=ADAPTER)
    for parameter in was_trained:
        parameter.requires_grad_(True)


def merged(model: Module) -> Module:
    """Return a copy, on the CPU, whose low-rank updates are part of its weights; without any, the model itself."""
    if not any(_is_updated(module) for module in model.modules()):
        return model
    copy = deepcopy(model).cpu()
    for parent in list(copy.modules()):
        for name, child in list(parent.named_children()):
            if _is_updated(child):
                setattr(parent, name, _merged_layer(child))
    return copy


def _is_updated(module: nn.Module) -> bool:
    return hasattr(module, "get_base_layer") and hasattr(module, "merge")


def _merged_layer(updated: Any) -> nn.Module:
    """Return the layer that peft has put the update around, with the update added to its weights."""
    layer: nn.Module
    if isinstance(updated.get_base_layer(), nn.MultiheadAttention):
        # Its weights are kept aside by peft, and put back by this alone.
        layer = updated.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
        return layer
    updated.merge()
    layer = updated.get_base_layer()
    return layer
