"""The pairwise contrastive loss with a margin (Hadsell, Chopra and LeCun 2006, equation 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape
from mmcl.losses.distances import Distance, paired_distances
from mmcl.losses.mining import Mining, check_mining, compare, mined_pairs
from mmcl.losses.precision import in_full_precision


@in_full_precision
def margin_loss(
    x1: Tensor,
    x2: Tensor,
    similar: Tensor,
    margin: float = 1.0,
    distance: Distance = "euclidean",
    *,
    across: Across | None = None,
) -> Tensor:
    """``1/2 y d^2 + 1/2 (1 - y) max(0, margin - d)^2`` with y = 1 for similar pairs, mean over pairs.

    (The paper's own Y is 1 for dissimilar pairs.)

    Args:
        x1: ``(n, D)``, not normalised here.
        x2: ``(n, D)``.
        similar: ``(n,)`` y, bool or numbers of 0 and 1.
        margin: beyond which dissimilar pairs are left alone, in units of the distance.
        distance: the paper's is ``euclidean``; ``sq_euclidean`` and ``cosine`` (1 - cos) put theirs for d.
        across: the pairs of all processes; by default these are all.

    Returns:
        A scalar: the sum over these pairs / N, the mean on one process.

    Raises:
        ValueError: there is no such distance, or shapes do not fit each other.
    """
    check_same_shape(x1=x1, x2=x2)
    check_ids(len(x1), similar=similar)
    across = Alone(len(x1)) if across is None else across
    distances = paired_distances(x1, x2, distance)
    weights = similar.to(distances.dtype)
    return (weights * _pull(distances) + (1 - weights) * _push(distances, margin)).sum() / max(across.total, 1)


@in_full_precision
def batch_margin_loss(
    anchors: Tensor,
    anchor_labels: Tensor,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    margin: float = 1.0,
    distance: Distance = "euclidean",
    *,
    mining: Mining = "all",
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
    group_ids: Tensor | None = None,
    memory_group_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
    memory_text_ids: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The mean of `margin_loss` over pairs of anchor and candidate, similar where their labels are equal.

    Label -1 = unlabelled: such a row takes no part. Without candidates of their own the anchors are the candidates,
    every pair of them counts in both orders and no row meets itself.

    - ``all``: every pair;
    - ``random``: every similar pair and, for each of them, one dissimilar pair of the same anchor, drawn uniformly
      with replacement;
    - ``semi_hard``: every similar pair, and the dissimilar ones farther than the anchor's nearest positive but
      inside the margin;
    - ``hard``: of each anchor its farthest positive and its nearest negative, where it has them.

    Args:
        anchors: ``(n, D)``, not normalised here.
        anchor_labels: ``(n,)`` int64.
        candidates: ``(n, D)``, one row per anchor, of another view or modality; None = the anchors.
        candidate_labels: ``(n,)`` int64, exactly where there are candidates.
        margin: in units of the distance.
        distance: as in `margin_loss`.
        mining: which pairs.
        across: the batch of all processes, whose rows are the candidates; by default these rows are all.
        memory: ``(K, D)`` past candidates without gradient and their ``(K,)`` labels: similar where equal.
        group_ids: ``(n,)`` int64, of the anchors and of the candidates beside them. A candidate of an anchor's group is
            no negative of it: of another label it is neither. None = no two rows are of a group.
        memory_group_ids: ``(K,)`` int64, of the memory; None = no past candidate is of an anchor's group.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none: rows that share one are, likewise, no
            negatives of each other. None = no two rows share one.
        memory_text_ids: ``(K, U)`` int64, of the memory; None = no past candidate shares a text.
        generator: for ``random``, of the tensors' device; None = torch's own. Each process draws for its anchors.

    Returns:
        A scalar: the sum over the pairs of these anchors / the number of pairs of all processes; 0, with gradient 0,
        where there is none. Memory is a few ``(n, N + K)`` matrices.

    Raises:
        ValueError: there is no such distance or mining, of candidates and their labels only one is given, or shapes do
            not fit each other.
    """
    check_mining(mining)
    across = Alone(len(anchors)) if across is None else across
    compared = compare(
        anchors,
        anchor_labels,
        candidates,
        candidate_labels,
        distance,
        across,
        memory,
        group_ids,
        memory_group_ids,
        text_ids,
        memory_text_ids,
    )
    similar, dissimilar = mined_pairs(compared, mining, margin, generator)
    total = (similar * _pull(compared.distances) + dissimilar * _push(compared.distances, margin)).sum()
    return total / across.sum(similar.sum() + dissimilar.sum()).clamp(min=1)


def _pull(distances: Tensor) -> Tensor:
    return distances.square() / 2


def _push(distances: Tensor, margin: float) -> Tensor:
    return F.relu(margin - distances).square() / 2
