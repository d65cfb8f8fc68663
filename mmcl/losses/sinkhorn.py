"""Balanced soft assignment of rows to prototypes, SwAV's codes (arXiv:2006.09882, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.precision import in_full_precision


@torch.no_grad()
@in_full_precision
def sinkhorn(scores: Tensor, epsilon: float = 0.05, num_iterations: int = 3, *, across: Across | None = None) -> Tensor:
    """Sinkhorn-Knopp on ``exp(scores / epsilon)`` over the rows of all processes.

    Each iteration gives all prototypes the same mass, then all rows. SwAV's constant factors (division by the whole
    sum, by K and by the number of rows) cancel and are left out. Computed with logarithms: no score, however large
    or small, over- or underflows.

    Args:
        scores: ``(n, K)``, rows' scores with the prototypes, cosines in SwAV. Of a queue that every process holds,
            each process passes a part of its own, or its rows would count several times.
        epsilon: > 0; the smaller, the harder the assignment.
        num_iterations: at least 1.
        across: the batch of all processes; by default these rows are all. Only its ``logsumexp`` is used, so that
            rows of a queue may stand among the scores.

    Returns:
        ``(n, K)`` codes without gradient, float32 or float64; every row sums to 1 and the prototypes' sums over all
        rows are nearly equal (exactly, after infinitely many iterations).

    Raises:
        ValueError: ``epsilon`` or ``num_iterations`` is out of range.
    """
    if epsilon <= 0:
        raise ValueError(f"epsilon must be > 0, got {epsilon}")
    if num_iterations < 1:
        raise ValueError(f"num_iterations must be at least 1, got {num_iterations}")
    across = Alone(len(scores)) if across is None else across
    log_codes = scores / epsilon
    for _ in range(num_iterations):
        log_codes = log_codes - across.logsumexp(torch.logsumexp(log_codes, dim=0))
        log_codes = log_codes - torch.logsumexp(log_codes, dim=1, keepdim=True)
    return log_codes.exp()
