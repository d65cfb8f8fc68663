"""The multi-class N-pair loss (Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective")."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape
from mmcl.losses.groups import left_out, left_out_of_keys
from mmcl.losses.marks import GroupMarks, dense_mask
from mmcl.losses.precision import in_full_precision


@in_full_precision
def n_pair_loss(
    anchors: Tensor,
    positives: Tensor,
    l2: float = 0.0,
    group_ids: Tensor | None = None,
    *,
    text_ids: Tensor | None = None,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
    memory_text_ids: Tensor | None = None,
) -> Tensor:
    """``mean of log(1 + sum over j != i of exp(a_i . p_j - a_i . p_i)) + l2 * (mean of |a_i|^2 + mean of |p_i|^2)``.

    The products are **unnormalised**; the l2 term, on squared norms, keeps them from growing (section 3.2.2).

    Args:
        anchors: ``(n, D)``, any norm.
        positives: ``(n, D)``, the positive of each anchor and a negative of the other anchors.
        l2: weight of the mean squared norms, at least 0.
        group_ids: ``(n,)`` int64; another row's positive is left out where its id equals the anchor's. Without them
            every row is a group of its own.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none. The positives of rows that
            share a text with an anchor's are left out too. None = no two rows do.
        across: the batch of all processes, whose positives are the negatives; by default these rows are all.
        memory: ``(K, D)`` past positives, more negatives of every anchor, without gradient, and their ``(K,)`` ids.
        memory_text_ids: ``(K, U)`` int64 ids of the texts of the memory's rows; None = none of theirs is a row's.

    Returns:
        A scalar: the sum over these rows / N, the mean on one process. Memory is a few ``(n, N + K)`` matrices.

    Raises:
        ValueError: shapes do not fit each other.
    """
    check_same_shape(anchors=anchors, positives=positives)
    check_ids(len(anchors), group_ids=group_ids)
    across = Alone(len(anchors)) if across is None else across
    candidates = across.gather(positives)
    every, device = slice(0, len(anchors)), anchors.device
    marks = [GroupMarks(across.offset), left_out(across, group_ids, text_ids)]
    itself, others = (dense_mask(one, every, len(candidates), device) for one in marks)
    is_no_negative = itself | others
    if memory is not None:
        past, past_ids = memory[0].detach(), memory[1]
        past_marks = left_out_of_keys(anchors, past, (group_ids, past_ids), (text_ids, memory_text_ids))
        candidates = torch.cat([candidates, past])
        is_no_negative = torch.cat([is_no_negative, dense_mask(past_marks, every, len(past), device)], dim=1)
    own = (anchors * positives).sum(dim=1)
    negative = (anchors @ candidates.T).masked_fill(is_no_negative, -torch.inf)
    excess = torch.logsumexp(negative, dim=1) - own
    squared_norms = anchors.square().sum() + positives.square().sum()
    return (-F.logsigmoid(-excess).sum() + l2 * squared_norms) / max(across.total, 1)
