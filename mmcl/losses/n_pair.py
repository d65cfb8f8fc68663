"""The multi-class N-pair loss (Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective")."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape
from mmcl.losses.precision import in_full_precision


@in_full_precision
def n_pair_loss(
    anchors: Tensor,
    positives: Tensor,
    l2: float = 0.0,
    group_ids: Tensor | None = None,
    *,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """``mean of log(1 + sum over j != i of exp(a_i . p_j - a_i . p_i)) + l2 * (mean of |a_i|^2 + mean of |p_i|^2)``.

    The products are **unnormalised**; the l2 term, on squared norms, keeps them from growing (section 3.2.2).

    Args:
        anchors: ``(n, D)``, any norm.
        positives: ``(n, D)``, the positive of each anchor and a negative of the other anchors.
        l2: weight of the mean squared norms, at least 0.
        group_ids: ``(n,)`` int64; another row's positive is left out where its id equals the anchor's. Without them
            every row is a group of its own.
        across: the batch of all processes, whose positives are the negatives; by default these rows are all.
        memory: ``(K, D)`` past positives, more negatives of every anchor, without gradient, and their ``(K,)`` ids.

    Returns:
        A scalar: the sum over these rows / N, the mean on one process. Memory is a few ``(n, N + K)`` matrices.

    Raises:
        ValueError: shapes do not fit each other.
    """
    check_same_shape(anchors=anchors, positives=positives)
    check_ids(len(anchors), group_ids=group_ids)
    across = Alone(len(anchors)) if across is None else across
    candidates = across.gather(positives)
    candidate_ids = None if group_ids is None else across.gather(group_ids)
    if memory is not None:
        candidates = torch.cat([candidates, memory[0].detach()])
        candidate_ids = None if candidate_ids is None else torch.cat([candidate_ids, memory[1]])
    rows = torch.arange(len(anchors), device=anchors.device)
    is_no_negative = torch.zeros(len(anchors), len(candidates), dtype=torch.bool, device=anchors.device)
    if group_ids is not None and candidate_ids is not None:
        is_no_negative = group_ids[:, None] == candidate_ids[None, :]
    is_no_negative[rows, across.offset + rows] = True
    own = (anchors * positives).sum(dim=1)
    negative = (anchors @ candidates.T).masked_fill(is_no_negative, -torch.inf)
    excess = torch.logsumexp(negative, dim=1) - own
    squared_norms = anchors.square().sum() + positives.square().sum()
    return (-F.logsigmoid(-excess).sum() + l2 * squared_norms) / max(across.total, 1)
