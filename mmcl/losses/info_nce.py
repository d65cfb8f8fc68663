"""InfoNCE, one direction, under four similarities (arXiv:1807.03748; with groups arXiv:2004.11362, equation 2)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape
from mmcl.losses.distances import Distance, distance_matrix
from mmcl.losses.groups import left_out, left_out_of_keys, mean_positives, with_memory
from mmcl.losses.marks import Marks, dense_mask
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import blocks, row_log_sums

Similarity = Literal["cosine", "dot", "neg_euclidean", "neg_sq_euclidean"]
SIMILARITIES = ("cosine", "dot", "neg_euclidean", "neg_sq_euclidean")

# Rows whose Euclidean distances to all keys are held at once.
DISTANCE_ROWS = 256


@in_full_precision
def info_nce_loss(
    queries: Tensor,
    keys: Tensor,
    scale: Tensor | float,
    group_ids: Tensor | None = None,
    *,
    similarity: Similarity = "cosine",
    text_ids: Tensor | None = None,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
    memory_text_ids: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each query over the keys of the batch, of which its own is the positive, mean over queries.

    ``loss_i = log sum over j of exp s_ij - mean over positives p of s_ip``, ``s_ij = scale * similarity(q_i, k_j)``.
    With several positives (rows of equal group) that is L_out, whose sum keeps all of them.

    Args:
        queries: ``(n, D)`` of any norm.
        keys: ``(n, D)`` of any norm; row i is the positive of query i.
        scale: 1 / temperature, a scalar.
        group_ids: ``(n,)`` int64, equal ids are positives of each other; None = every row is a group of its own.
        similarity: ``"cosine"`` (normalises), ``"dot"``, ``"neg_euclidean"`` ``-|q - k|`` or ``"neg_sq_euclidean"``
            ``-|q - k|^2``.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none. Rows of different groups that share a
            text are left out of each other's sums: neither positives nor negatives. None = no two rows do.
        across: the batch of all processes; by default these rows are all.
        memory: ``(K, D)`` past keys without gradient and their ``(K,)`` group ids, the same on every process; further
            negatives, those of a query's group left out.
        memory_text_ids: ``(K, U)`` int64 ids of the texts of the memory's rows; None = none of theirs is a row's.

    Returns:
        A scalar: the sum over these queries / N, the mean on one process.

    Raises:
        ValueError: the similarity is unknown, or shapes do not fit each other.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity must be one of {', '.join(SIMILARITIES)}, got {similarity!r}")
    check_same_shape(queries=queries, keys=keys)
    check_ids(len(queries), group_ids=group_ids)
    across = Alone(len(queries)) if across is None else across
    past_keys, past_ids = memory if memory is not None else (None, None)
    if similarity == "cosine":
        queries, keys = F.normalize(queries, dim=1), F.normalize(keys, dim=1)
        past_keys = None if past_keys is None else F.normalize(past_keys, dim=1)
    all_keys = across.gather(keys)
    all_ids = None if group_ids is None else across.gather(group_ids)
    excluded = left_out(across, None, text_ids, group_ids)
    if similarity == "neg_euclidean" or similarity == "neg_sq_euclidean":
        groups = None if group_ids is None or all_ids is None else (group_ids, all_ids)
        distance: Distance = "euclidean" if similarity == "neg_euclidean" else "sq_euclidean"
        past = all_keys[:0] if past_keys is None else past_keys
        marks = excluded, left_out_of_keys(queries, past, (group_ids, past_ids), (text_ids, memory_text_ids))
        losses = _distance_losses(queries, all_keys, scale, groups, past, marks, across.offset, distance)
        return losses.sum() / max(across.total, 1)
    log_sums = row_log_sums(queries, all_keys, scale, excluded)
    positives = all_keys[across.offset : across.offset + len(queries)]
    if group_ids is not None and all_ids is not None:
        positives = mean_positives(all_keys, group_ids, all_ids)
    if past_keys is not None and past_ids is not None:
        texts = text_ids, memory_text_ids
        log_sums = with_memory(log_sums, queries, scale, group_ids, past_keys, past_ids, texts=texts)
    positive = scale * (queries * positives).sum(dim=1)
    return (log_sums - positive).sum() / max(across.total, 1)


def _distance_losses(
    queries: Tensor,
    all_keys: Tensor,
    scale: Tensor | float,
    groups: tuple[Tensor, Tensor] | None,
    past_keys: Tensor,
    excluded: tuple[Marks | None, Marks | None],
    offset: int,
    distance: Distance,
) -> Tensor:
    """Return ``(n,)``; a distance is no product, so blocks of rows are computed whole, and again for the gradient.

    ``excluded`` are marks of the matrix with the keys of the batch, and of that with the ``(K, D)`` past ones.
    """
    num_keys = len(all_keys)
    columns = torch.cat([all_keys, past_keys.detach()])

    def block(part: Tensor, first: int) -> Tensor:
        rows = slice(first, first + len(part))
        if groups is None:
            own = offset + first + torch.arange(len(part), device=part.device)
            positives = own[:, None] == torch.arange(num_keys, device=part.device)
        else:
            positives = groups[0][rows, None] == groups[1]
        of_batch, of_past = (
            dense_mask(marks, rows, len(keys), part.device)
            for marks, keys in zip(excluded, (all_keys, past_keys), strict=True)
        )
        scores = -scale * distance_matrix(part, columns, distance)
        scores = scores.masked_fill(torch.cat([of_batch, of_past], dim=1), -torch.inf)
        positive = scores[:, :num_keys].masked_fill(~positives, 0.0).sum(dim=1) / positives.sum(dim=1)
        return torch.logsumexp(scores, dim=1) - positive

    # A process without queries has one empty block: the keys it gathered must still be part of its graph.
    parts = [
        checkpoint(block, queries[rows], rows.start, use_reentrant=False, preserve_rng_state=False)
        for rows in blocks(max(len(queries), 1), DISTANCE_ROWS)
    ]
    return torch.cat(parts)
