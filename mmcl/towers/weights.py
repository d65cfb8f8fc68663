"""Reading a few named tensors of a file of weights, with damage told in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mmcl.errors import UserError
from mmcl.towers.description import DESCRIPTION_FILE


def read_weights(path: Path, keys: tuple[str, ...]) -> list[Tensor]:
    """Return tensors of a file, of safetensors or (``.bin``) of torch, by their names.

    Raises:
        UserError: there is no file, it is damaged, or it lacks one of ``keys``.
    """
    try:
        is_pickled = path.suffix == ".bin"
        stored = torch.load(path, "cpu", weights_only=True) if is_pickled else load_file(path)
        return [stored[key] for key in keys]
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (SafetensorError, OSError, RuntimeError, UnpicklingError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    except KeyError as error:
        raise UserError(f"{path} is damaged: it holds no {error.args[0]}") from error


@torch.no_grad()
def copy_weights(into: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors of a file into parameters, by their names.

    Raises:
        UserError: there is no file, it is damaged, lacks a name, or has a tensor of another shape.
    """
    for parameter, weight in zip(into.values(), read_weights(path, tuple(into)), strict=True):
        if weight.shape != parameter.shape:
            expected, got = tuple(parameter.shape), tuple(weight.shape)
            raise UserError(f"{path} has a projection of shape {got}; {DESCRIPTION_FILE} says {expected}")
        parameter.copy_(weight)
