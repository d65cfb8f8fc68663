"""A frozen second copy of one encoder, for methods with a momentum encoder (MoCo, BYOL)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from torch import nn

from mmcl.towers.towers import Modality, Towers, parameters_behind, probe_one

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def copy_of_encoder(towers: Towers, modality: Modality) -> Towers:
    """Return a copy of ``towers`` that can encode ``modality``, without what only the other one needs.

    What is left has the names that it has in ``towers``, so that ``copy.named_parameters()`` can be averaged with the
    parameters of the same names. Buffers are copied; the training mode is kept.

    Args:
        towers: left as they are; trained or not, on any device.
        modality: of the encoder; ``encode_image`` or ``encode_text`` of the copy works as it does on ``towers``.

    Returns:
        Towers with weights of their own, none of which takes a gradient. Whatever module was neither called nor holds a
        parameter that the features or embeddings of ``modality`` depend on is None in them.

    Raises:
        UserError: there is no such tower.
    """
    towers.require(modality)
    # Hooks that are methods of a copied object (`mmcl.towers.joint`) are bound to its copy by deepcopy.
    copy = deepcopy(towers)
    copy.modalities = (modality,)
    # The graph tells of parameters only while they are trained, which some of ``towers`` may not be.
    copy.requires_grad_(True)
    with _called_modules(copy) as called:
        outputs = probe_one(copy, modality)
    used = parameters_behind(outputs[0]) | parameters_behind(outputs[1])
    _prune(copy, called, used)
    return copy.requires_grad_(False)


@contextmanager
def _called_modules(root: nn.Module) -> Iterator[set[int]]:
    """Collect the ids of the modules that are called inside the block."""
    called: set[int] = set()

    def note(module: nn.Module, inputs: object) -> None:
        called.add(id(module))

    handles = [module.register_forward_pre_hook(note) for module in root.modules()]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def _prune(module: nn.Module, called: set[int], used: set[int]) -> None:
    """Take away what is below ``module`` and has no part in the output.

    A module that is called stays even where nothing depends on it, such as a pooler whose result is thrown away, and so
    do the members of a list, which is walked. A parameter may be asked for wherever its module is called.
    """
    for name, child in list(module.named_children()):
        weights = {id(parameter) for parameter in child.parameters()}
        is_called = any(id(part) in called for part in child.modules())
        if weights and not weights & used and not is_called and not isinstance(module, _CONTAINERS):
            setattr(module, name, None)
        else:
            _prune(child, called, used)
    if id(module) not in called and not isinstance(module, _CONTAINERS):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in used:
                setattr(module, name, None)
