"""Losses are computed in float32 at least, whatever the precision of the embeddings and under autocast too.

A score of 100 (cosine 1 at CLIP's largest scale) has a spacing of 0.5 in bfloat16: its exponential would be off by a
quarter. So the products themselves must not be rounded, and it is not enough to widen what comes out of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import Tensor

Parameters = ParamSpec("Parameters")


def in_full_precision(loss: Callable[Parameters, Tensor]) -> Callable[Parameters, Tensor]:
    """Make a loss see float32 and no autocast; where any tensor but a scalar is float64, all are.

    Widening is part of the graph: gradients come back in the precision of each input. The backward pass is to be called
    outside autocast, as torch asks for.
    """

    @functools.wraps(loss)
    def widened(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Tensor:
        tensors = _floating_tensors([args, list(kwargs.values())])
        is_double = any(tensor.dtype == torch.float64 for tensor in tensors if tensor.ndim > 0)
        dtype = torch.float64 if is_double else torch.float32
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return loss(
                *(_widen(value, dtype) for value in args),
                **{name: _widen(value, dtype) for name, value in kwargs.items()},
            )

    return widened


def _floating_tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in _floating_tensors(item)]
    return []


def _widen(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(dtype)
    if isinstance(value, (tuple, list)):
        return type(value)(_widen(item, dtype) for item in value)
    return value
