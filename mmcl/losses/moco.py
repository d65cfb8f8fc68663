"""The loss of MoCo v1 and v2: one positive key against a queue of old ones (arXiv:1911.05722, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape, check_temperature
from mmcl.losses.groups import left_out_of_keys
from mmcl.losses.marks import dense_mask
from mmcl.losses.precision import in_full_precision


@in_full_precision
def moco_loss(
    queries: Tensor,
    keys: Tensor,
    queue: Tensor,
    temperature: Tensor | float = 0.2,
    group_ids: Tensor | None = None,
    queue_group_ids: Tensor | None = None,
    *,
    text_ids: Tensor | None = None,
    queue_text_ids: Tensor | None = None,
    across: Across | None = None,
) -> Tensor:
    """Cross-entropy of each query over its own key, the positive, and the ``K`` keys of the queue, mean over queries.

    ``loss_i = -log(exp(q_i . k_i / T) / (exp(q_i . k_i / T) + sum over the queue of exp(q_i . u / T)))``. The keys of
    the other rows of the batch are **not** negatives. The queue must not hold this step's keys yet. Neither keys nor
    queue take a gradient: they come from the momentum encoder. MoCo v3 has no queue; its loss is
    ``2 T * (info_nce_loss(q1, k2, 1 / T) + info_nce_loss(q2, k1, 1 / T))``.

    Args:
        queries: ``(n, D)`` unit norm, these rows' outputs of the trained encoder.
        keys: ``(n, D)`` unit norm, the momentum encoder's output for the other view of each row.
        queue: ``(K, D)`` unit norm, keys of earlier steps, the same on every process.
        temperature: T > 0; 0.07 in MoCo v1, 0.2 in v2.
        group_ids: ``(n,)`` int64. A queue entry of a query's group is left out of that query's negatives.
        queue_group_ids: ``(K,)`` int64; -1 = unknown (the queue's random start), which equals nothing. Without both
            arguments every entry is a negative of every query.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none. A queue entry that shares one is left out
            of the row's negatives too.
        queue_text_ids: ``(K, U)`` int64 ids of the queue's texts, negative for none. Without both arguments no text is
            shared.
        across: the batch of all processes; by default these rows are all.

    Returns:
        A scalar: the sum over these rows / N, the mean on one process. Memory is a few ``(n, K)`` matrices.

    Raises:
        ValueError: shapes do not fit each other, or the temperature is not positive.
    """
    check_same_shape(queries=queries, keys=keys)
    check_ids(len(queries), group_ids=group_ids)
    check_ids(len(queue), queue_group_ids=queue_group_ids)
    check_temperature(temperature)
    across = Alone(len(queries)) if across is None else across
    positive = (queries * keys.detach()).sum(dim=1) / temperature
    marks = left_out_of_keys(queries, queue, (group_ids, queue_group_ids), (text_ids, queue_text_ids))
    is_no_negative = dense_mask(marks, slice(0, len(queries)), len(queue), queries.device)
    negative = (queries @ queue.detach().T / temperature).masked_fill(is_no_negative, -torch.inf)
    # Cross-entropy is log(1 + exp(x)) of how far the negatives together exceed the positive; this form stays exact
    # where the loss is small.
    excess = torch.logsumexp(negative, dim=1) - positive
    return -F.logsigmoid(-excess).sum() / max(across.total, 1)
