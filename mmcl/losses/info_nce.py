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
from mmcl.losses.groups import mean_positives, with_memory
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
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
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
        across: the batch of all processes; by default these rows are all.
        memory: ``(K, D)`` past keys without gradient and their ``(K,)`` group ids, the same on every process; further
            negatives, those of a query's group left out.

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
    if similarity == "neg_euclidean" or similarity == "neg_sq_euclidean":
        groups = None if group_ids is None or all_ids is None else (group_ids, all_ids)
        distance: Distance = "euclidean" if similarity == "neg_euclidean" else "sq_euclidean"
        losses = _distance_losses(queries, all_keys, scale, groups, memory, across.offset, distance)
        return losses.sum() / max(across.total, 1)
    log_sums = row_log_sums(queries, all_keys, scale)
    positives = all_keys[across.offset : across.offset + len(queries)]
    if group_ids is not None and all_ids is not None:
        positives = mean_positives(all_keys, group_ids, all_ids)
    if past_keys is not None and past_ids is not None:
        log_sums = with_memory(log_sums, queries, scale, group_ids, past_keys, past_ids)
    positive = scale * (queries * positives).sum(dim=1)
    return (log_sums - positive).sum() / max(across.total, 1)


def _distance_losses(
    queries: Tensor,
    all_keys: Tensor,
    scale: Tensor | float,
    groups: tuple[Tensor, Tensor] | None,
    memory: tuple[Tensor, Tensor] | None,
    offset: int,
    distance: Distance,
) -> Tensor:
    """Return ``(n,)``; a distance is no product, so blocks of rows are computed whole, and again for the gradient."""
    num_keys = len(all_keys)
    columns = all_keys if memory is None else torch.cat([all_keys, memory[0].detach()])

    def block(part: Tensor, first: int) -> Tensor:
        scores = -scale * distance_matrix(part, columns, distance)
        if groups is None:
            own = offset + first + torch.arange(len(part), device=part.device)
            positives = own[:, None] == torch.arange(num_keys, device=part.device)
        else:
            ids = groups[0][first : first + len(part), None]
            positives = ids == groups[1]
            if memory is not None:
                excluded = torch.cat([torch.zeros_like(positives), ids == memory[1]], dim=1)
                scores = scores.masked_fill(excluded, -torch.inf)
        positive = scores[:, :num_keys].masked_fill(~positives, 0.0).sum(dim=1) / positives.sum(dim=1)
        return torch.logsumexp(scores, dim=1) - positive

    # A process without queries has one empty block: the keys it gathered must still be part of its graph.
    parts = [
        checkpoint(block, queries[rows], rows.start, use_reentrant=False, preserve_rng_state=False)
        for rows in blocks(max(len(queries), 1), DISTANCE_ROWS)
    ]
    return torch.cat(parts)
