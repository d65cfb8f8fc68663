"""Distances of rows: pair by pair, and of all rows of two sets."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Distance: TypeAlias = Literal["euclidean", "sq_euclidean", "cosine"]


def paired_distances(x: Tensor, y: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Return the ``(n,)`` distances of row i of ``x`` and row i of ``y``, both ``(n, D)``.

    ``euclidean`` is ``|x - y|``, with gradient 0 where the rows are equal; ``sq_euclidean`` its square; ``cosine``
    is ``1 - cos``, from 0 to 2. Only ``cosine`` normalises the rows.

    Raises:
        ValueError: there is no such distance.
    """
    _check(distance)
    if distance == "cosine":
        return 1 - (F.normalize(x, dim=1) * F.normalize(y, dim=1)).sum(dim=1)
    if distance == "sq_euclidean":
        return (x - y).square().sum(dim=1)
    return torch.linalg.vector_norm(x - y, dim=1)


def distance_matrix(x: Tensor, y: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Return the ``(n, m)`` distances of each row of ``x``, ``(n, D)``, and each of ``y``, ``(m, D)``.

    The distances of `paired_distances`. Euclidean ones are computed from differences, not from norms and products,
    whose rounding would give equal rows a distance of a root of the machine epsilon; memory is the matrix alone.

    Raises:
        ValueError: there is no such distance.
    """
    _check(distance)
    if distance == "cosine":
        return 1 - F.normalize(x, dim=1) @ F.normalize(y, dim=1).T
    distances: Tensor = _EuclideanMatrix.apply(x, y)
    return distances.square() if distance == "sq_euclidean" else distances


def _check(distance: str) -> None:
    if distance not in get_args(Distance):
        raise ValueError(f"distance must be one of {', '.join(get_args(Distance))}, got {distance!r}")


class _EuclideanMatrix(torch.autograd.Function):
    """The gradient is two matrix products; torch's own takes ``(n, m, D)`` memory on CUDA."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        distances = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
        ctx.save_for_backward(x, y, distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        x, y, distances = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            # The derivative of d is (x - y) / d; between equal rows it is taken as 0.
            pull = torch.where(distances > 0, grad_outputs[0] / distances, 0)
            x_grad = pull.sum(dim=1, keepdim=True) * x - pull @ y
            y_grad = pull.sum(dim=0)[:, None] * y - pull.T @ x
        return x_grad, y_grad
