"""SimCSE: InfoNCE from one pass of a text to another, with hard negatives as further columns (arXiv:2104.08821)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape, check_temperature
from mmcl.losses.groups import with_memory
from mmcl.losses.marks import GroupMarks
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import row_log_sums


@in_full_precision
def simcse_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    temperature: float = 0.05,
    group_ids: Tensor | None = None,
    *,
    hard_negative_weight: float = 1.0,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Cross-entropy of each anchor over all positives, then all hard negatives; its own positive is the target.

    ``loss_i = -s(a_i, p_i) + log(sum over j of exp s(a_i, p_j) + sum over j, k of w_ij exp s(a_i, n_jk))`` with
    ``s = cosine / T`` and ``w_ij`` = ``hard_negative_weight`` for the anchor's own negatives (j = i), else 1 (equations
    1, 5 and 8). One direction only: positives are not compared with anchors.

    Args:
        anchors: ``(n, D)`` unit norm.
        positives: ``(n, D)`` unit norm; for unsupervised SimCSE the same texts under another dropout mask.
        negatives: ``(n, K, D)`` unit norm, K hard negatives of each anchor; None = none.
        temperature: T > 0.
        group_ids: ``(n,)`` int64. Positives of other rows of an anchor's group are left out of its sum. Hard negatives
            belong to no group. None = every row is a group of its own.
        hard_negative_weight: alpha >= 0; the logit of an own hard negative is raised by its logarithm.
        across: the batch of all processes; by default these rows are all.
        memory: ``(M, D)`` past embeddings without gradient and their ``(M,)`` group ids, the same on every process;
            further negatives, those of an anchor's group left out.

    Returns:
        A scalar: the sum over these anchors / N, the mean on one process.

    Raises:
        ValueError: the weight is negative, shapes do not fit each other, or the temperature is not positive.
    """
    if hard_negative_weight < 0:
        raise ValueError(f"hard_negative_weight must be >= 0, got {hard_negative_weight}")
    check_same_shape(anchors=anchors, positives=positives)
    if negatives is not None:
        check_same_shape(anchors=anchors, **{"each of negatives": negatives.transpose(0, 1)[:1].flatten(0, 1)})
    check_ids(len(anchors), group_ids=group_ids)
    check_temperature(temperature)
    across = Alone(len(anchors)) if across is None else across
    scale = 1 / temperature
    samples = across.offset + torch.arange(len(anchors), device=anchors.device)
    excluded = None
    if group_ids is not None:
        ids = torch.stack([group_ids, samples], dim=1)
        all_ids = across.gather(ids)
        excluded = GroupMarks(None, ids[:, 0], all_ids[:, 0], ids[:, 1], all_ids[:, 1])
    # One exchange for positives and negatives.
    targets = positives[:, None] if negatives is None else torch.cat([positives[:, None], negatives], dim=1)
    all_targets = across.gather(targets)
    log_sums = row_log_sums(anchors, all_targets[:, 0], scale, excluded)
    if negatives is not None:
        of_negatives = _log_sums_of_negatives(
            anchors, negatives, all_targets[:, 1:], samples, scale, hard_negative_weight
        )
        log_sums = torch.logaddexp(log_sums, of_negatives)
    if memory is not None:
        log_sums = with_memory(log_sums, anchors, scale, group_ids, *memory)
    positive = scale * (anchors * positives).sum(dim=1)
    return (log_sums - positive).sum() / max(across.total, 1)


def _log_sums_of_negatives(
    anchors: Tensor, negatives: Tensor, all_negatives: Tensor, samples: Tensor, scale: float, weight: float
) -> Tensor:
    """Return ``(n,)``, the weighted log-sum-exp of each anchor's scores with the negatives of all rows.

    The own ones are taken out of the common sum and added with their weight: a correction of the sum itself would lose
    its digits for weights below 1.
    """
    num_rows, num_negatives = len(all_negatives), all_negatives.shape[1]
    columns = all_negatives.flatten(0, 1)
    if weight == 1.0:
        return row_log_sums(anchors, columns, scale)
    owners = torch.arange(num_rows, device=anchors.device).repeat_interleave(num_negatives)
    own = GroupMarks(None, samples, owners, torch.zeros_like(samples), torch.ones_like(owners))
    log_sums = row_log_sums(anchors, columns, scale, own)
    if weight == 0.0:
        return log_sums
    own_scores = scale * (anchors[:, None] * negatives).sum(dim=2) + math.log(weight)
    return torch.logaddexp(log_sums, torch.logsumexp(own_scores, dim=1))
