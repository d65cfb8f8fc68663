"""The loss of Barlow Twins: the cross-correlation of two views' dimensions, made the identity (arXiv:2103.03230)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_same_shape
from mmcl.losses.precision import in_full_precision

# A dimension counts as constant where its deviation is within this many rounding errors of its mean.
_CONSTANT_WITHIN_ROUNDINGS = 16


@in_full_precision
def barlow_twins_loss(
    z1: Tensor,
    z2: Tensor,
    off_diagonal_weight: float = 0.0051,
    *,
    loss_scale: float = 1.0,
    across: Across | None = None,
) -> Tensor:
    """``loss_scale * (sum (C_ii - 1)^2 + off_diagonal_weight * sum over i != j of C_ij^2)`` (equations 1 and 2).

    ``C = z1' z2 / N`` after each dimension of each view is standardised over the N rows of **all** processes: mean
    0, **biased** variance 1, no epsilon added. A dimension that is constant over the batch (but for rounding: its
    standard deviation is at most 16 machine epsilons of its mean) has no standardised form: it counts as 0, so that
    its ``C_ii`` is 0, and it takes no gradient.

    Args:
        z1: ``(n, D)``, the projections of view 1; any norm.
        z2: ``(n, D)``, the projections of view 2.
        off_diagonal_weight: lambda.
        loss_scale: a factor on the whole; the paper's code takes 0.024 with LARS.
        across: the batch of all processes; by default these rows are all. All must take part, also one without rows.

    Returns:
        A scalar: this process's share, the whole loss times n / N. Memory is a few ``(D, D)`` matrices.

    Raises:
        ValueError: the two shapes differ.
    """
    check_same_shape(z1=z1, z2=z2)
    across = Alone(len(z1)) if across is None else across
    standardised = _standardise(torch.cat([z1, z2], dim=1), across)
    first, second = standardised.chunk(2, dim=1)
    correlation = across.sum(first.T @ second) / max(across.total, 1)
    is_diagonal = torch.eye(len(correlation), dtype=torch.bool, device=correlation.device)
    invariance = (correlation.diagonal() - 1).square().sum()
    redundancy = correlation.masked_fill(is_diagonal, 0).square().sum()
    # Every process knows the whole loss. Weighting it by the rows makes shares; across.sum adds the processes'
    # gradients up, and these weights add up to 1.
    return loss_scale * (invariance + off_diagonal_weight * redundancy) * (len(z1) / max(across.total, 1))


def _standardise(rows: Tensor, across: Across) -> Tensor:
    """Mean 0 and biased variance 1 of each column over the rows of all processes, in two passes."""
    num_rows = max(across.total, 1)
    # What is standardised has no scale: near 1, its squares neither over- nor underflow.
    size = across.sum(rows.detach().abs().sum(dim=0) / num_rows)
    rows = rows / torch.where(size > 0, size, 1)
    mean = across.sum(rows.sum(dim=0)) / num_rows
    centred = rows - mean
    variance = across.sum(centred.square().sum(dim=0)) / num_rows
    rounding = _CONSTANT_WITHIN_ROUNDINGS * torch.finfo(rows.dtype).eps * mean.detach().abs()
    # Not ">", of which NaN would make a constant.
    varies = ~(variance <= rounding.square())
    # The inner where keeps the infinite slope of the root at 0 out of the gradient.
    return torch.where(varies, centred * torch.where(varies, variance, 1).rsqrt(), 0)
