"""SimCSE: InfoNCE from one pass of a text to another, with hard negatives as further columns (arXiv:2104.08821)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape, check_temperature
from mmcl.losses.groups import left_out, left_out_of_keys, with_memory
from mmcl.losses.marks import AnyMarks, GroupMarks, Marks
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
    text_ids: Tensor | None = None,
    negative_text_ids: Tensor | None = None,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
    memory_text_ids: Tensor | None = None,
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
        text_ids: ``(n, V)`` int64 ids of each row's anchor and positive, negative for none. Positives of rows that
            share a text with the anchor's are left out of its sum too; its own stays. None = no two rows do.
        negative_text_ids: ``(n, K)`` int64 ids of the hard negatives. One that is a text of an anchor's row, its own or
            another's, is left out of that anchor's sum. None = none is.
        across: the batch of all processes; by default these rows are all.
        memory: ``(M, D)`` past embeddings without gradient and their ``(M,)`` group ids, the same on every process;
            further negatives, those of an anchor's group left out.
        memory_text_ids: ``(K, U)`` int64 ids of the texts of the memory's rows; None = no text of theirs is a row's.

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
    excluded = left_out(across, group_ids, text_ids)
    # One exchange for positives and negatives.
    targets = positives[:, None] if negatives is None else torch.cat([positives[:, None], negatives], dim=1)
    all_targets = across.gather(targets)
    log_sums = row_log_sums(anchors, all_targets[:, 0], scale, excluded)
    if negatives is not None:
        of_negatives = _log_sums_of_negatives(
            anchors, negatives, all_targets[:, 1:], scale, hard_negative_weight, text_ids, negative_text_ids, across
        )
        log_sums = torch.logaddexp(log_sums, of_negatives)
    if memory is not None:
        log_sums = with_memory(log_sums, anchors, scale, group_ids, *memory, texts=(text_ids, memory_text_ids))
    positive = scale * (anchors * positives).sum(dim=1)
    return (log_sums - positive).sum() / max(across.total, 1)


def _log_sums_of_negatives(
    anchors: Tensor,
    negatives: Tensor,
    all_negatives: Tensor,
    scale: float,
    weight: float,
    text_ids: Tensor | None,
    negative_text_ids: Tensor | None,
    across: Across,
) -> Tensor:
    """Return ``(n,)``, the weighted log-sum-exp of each anchor's scores with the negatives of all rows.

    The own ones are taken out of the common sum and added with their weight: a correction of the sum itself would lose
    its digits for weights below 1.
    """
    columns, is_false, is_own_false = all_negatives.flatten(0, 1), None, None
    if text_ids is not None and negative_text_ids is not None:
        all_ids = across.gather(negative_text_ids).flatten()[:, None]
        is_false = left_out_of_keys(anchors, columns, (None, None), (text_ids, all_ids))
        is_own_false = (negative_text_ids[:, :, None] == text_ids[:, None]).any(dim=2) & (negative_text_ids >= 0)
    if weight == 1.0:
        return row_log_sums(anchors, columns, scale, is_false)
    samples = across.offset + torch.arange(len(anchors), device=anchors.device)
    owners = torch.arange(len(all_negatives), device=anchors.device).repeat_interleave(all_negatives.shape[1])
    own: Marks = GroupMarks(None, samples, owners, torch.zeros_like(samples), torch.ones_like(owners))
    log_sums = row_log_sums(anchors, columns, scale, own if is_false is None else AnyMarks([own, is_false]))
    if weight == 0.0:
        return log_sums
    own_scores = scale * (anchors[:, None] * negatives).sum(dim=2) + math.log(weight)
    if is_own_false is not None:
        own_scores = own_scores.masked_fill(is_own_false, -torch.inf)
    return torch.logaddexp(log_sums, torch.logsumexp(own_scores, dim=1))
