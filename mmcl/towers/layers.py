"""The depth of a tower's parameters: what comes before its blocks, the blocks, and what comes after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmcl.errors import UserError
from mmcl.towers.towers import Modality, Towers, parameters_behind, probe_one

MAX_SHARE = 0.95
"""Of a group's parameters that one of its blocks may hold."""


@dataclass(frozen=True)
class TowerLayers:
    """A tower's blocks and how deep each of its parameters lies.

    Attributes:
        blocks: from the input to the output.
        depths: of every parameter that the tower's embedding depends on, by id: 0 before the first block, then 1 for
            its parameters and what follows it, and so on, ``len(blocks) + 1`` for what comes after the last.
    """

    blocks: tuple[nn.Module, ...]
    depths: dict[int, int]

    @property
    def last_depth(self) -> int:
        """Depth of what comes after the blocks: final norm, pooler, projection."""
        return len(self.blocks) + 1


def layers_of(towers: Towers, modality: Modality) -> TowerLayers:
    """Return the layers of one tower.

    Blocks are the largest group of sibling modules of one class that share the work: a transformer's layers, or a
    convolutional network's stages. What lies before them or between two is found by the graphs of their inputs.

    Raises:
        UserError: the tower has no blocks to tell apart.
    """
    used = parameters_behind(probe_one(towers, modality)[1])
    blocks = max(_sibling_groups(towers, used), key=_size, default=())
    if not blocks:
        raise UserError(f"the {modality} tower has no blocks; it can be trained whole or locked whole, not in part")
    inputs: list[list[Tensor]] = [[] for _ in blocks]
    handles = [
        block.register_forward_pre_hook(_keep_tensors(found), with_kwargs=True)
        for block, found in zip(blocks, inputs, strict=True)
    ]
    try:
        probe_one(towers, modality)
    finally:
        for handle in handles:
            handle.remove()
    depths = dict.fromkeys(used, len(blocks) + 1)
    # From the last block back, so that what lies before several has the depth of the first of them.
    for number in reversed(range(len(blocks))):
        for tensor in inputs[number]:
            depths.update(dict.fromkeys(parameters_behind(tensor), number))
    for number, block in enumerate(blocks):
        depths.update({id(parameter): number + 1 for parameter in block.parameters() if id(parameter) in used})
    return TowerLayers(tuple(blocks), depths)


def _sibling_groups(towers: Towers, used: set[int]) -> Iterator[tuple[nn.Module, ...]]:
    """Yield the modules of one class under one parent that have parts of their own and parameters of this tower."""
    for parent in towers.modules():
        by_class: dict[type[nn.Module], list[nn.Module]] = {}
        for child in parent.children():
            ids = {id(parameter) for parameter in child.parameters()}
            if ids & used and any(child.children()):
                by_class.setdefault(type(child), []).append(child)
        for group in by_class.values():
            # A stem beside the trunk that holds nearly all is no group of equals; theirs are within the trunk.
            are_equals = len(group) > 1 and max(map(_num_parameters, group)) < MAX_SHARE * _size(group)
            if are_equals or isinstance(parent, nn.ModuleList):
                yield tuple(group)


def _size(blocks: Sequence[nn.Module]) -> int:
    return sum(map(_num_parameters, blocks))


def _num_parameters(block: nn.Module) -> int:
    return sum(parameter.numel() for parameter in block.parameters())


def _keep_tensors(found: list[Tensor]) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.extend(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.requires_grad)

    return hook
