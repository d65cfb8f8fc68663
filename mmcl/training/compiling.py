"""``compile: true``: the blocks of the towers go through torch.compile."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mmcl.errors import UserError
from mmcl.model import TwoTower
from mmcl.towers.layers import layers_of


def blocks_to_compile(model: TwoTower, device: torch.device) -> list[nn.Module]:
    """Return the blocks of the towers; to be called before anything is locked, after which they are not found.

    Args:
        model: the towers.
        device: where they will run.

    Raises:
        UserError: a tower has no blocks, or torch.compile does not work on this machine.
    """
    try:
        blocks = [block for modality in model.towers.modalities for block in layers_of(model.towers, modality).blocks]
    except UserError as error:
        raise UserError(f"compile: {str(error).partition(';')[0]} to compile; leave compile out") from error
    _check_compiles(device)
    return blocks


def compile_blocks(blocks: Sequence[nn.Module]) -> None:
    """Compile each block at its first call, in place; names in the state stay, and copies are not compiled.

    Blocks of one class share their code, so that one block of each tower is compiled, and not all of them. Sizes are
    symbols in it: another text length or number of rows needs no other code, but for once where the first batch has as
    many rows as tokens, which torch takes for one size. Dropout draws what it draws without, which gradient caching
    rests on: rows go through once without a graph and once with, and must be given the same numbers.
    """
    for block in blocks:
        block.compile(dynamic=True, options={"fallback_random": True})


def _check_compiles(device: torch.device) -> None:
    try:
        torch.compile(_add_one, dynamic=True)(torch.zeros(2, device=device))
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        needs = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler, such as g++"
        raise UserError(f"compile: torch.compile needs {needs}: {reason}; leave compile out") from error


def _add_one(tensor: torch.Tensor) -> torch.Tensor:
    return tensor + 1
