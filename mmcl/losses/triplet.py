"""The triplet loss, for given triplets and for all or chosen ones of a batch (arXiv:1503.03832, equation 2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_same_shape
from mmcl.losses.distances import Distance, paired_distances
from mmcl.losses.mining import Mining, check_mining, compare, hard_triplets, hinge_over_triplets, random_triplets
from mmcl.losses.precision import in_full_precision


@in_full_precision
def triplet_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    margin: float = 0.2,
    distance: Distance = "euclidean",
    *,
    across: Across | None = None,
) -> Tensor:
    """``max(0, d(a,p) - d(a,n) + margin)``, mean over **all** triplets, those of loss 0 included.

    Args:
        anchors: ``(n, D)``; FaceNet's are of unit norm, with the squared distance. Nothing is normalised here but by
            the cosine distance.
        positives: ``(n, D)``.
        negatives: ``(n, D)``.
        margin: in units of the distance.
        distance: ``euclidean``, ``sq_euclidean`` or ``cosine`` (1 - cos).
        across: the triplets of all processes; by default these are all.

    Returns:
        A scalar: the sum over these triplets / N, the mean on one process.

    Raises:
        ValueError: there is no such distance, or shapes differ.
    """
    check_same_shape(anchors=anchors, positives=positives, negatives=negatives)
    across = Alone(len(anchors)) if across is None else across
    difference = paired_distances(anchors, positives, distance) - paired_distances(anchors, negatives, distance)
    return F.relu(difference + margin).sum() / max(across.total, 1)


@in_full_precision
def batch_triplet_loss(
    anchors: Tensor,
    anchor_labels: Tensor,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    margin: float = 0.2,
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
    """The mean of the triplet loss over triplets formed within the batch of all processes.

    Positives of an anchor are the candidates of its label, negatives those of another. Label -1 = unlabelled: such a
    row takes no part, neither as anchor nor as positive nor as negative.

    - ``all``: every triplet, those of loss 0 included;
    - ``random``: every pair of anchor and positive with one negative drawn uniformly from the anchor's;
    - ``semi_hard``: every triplet with ``d(a,p) < d(a,n) < d(a,p) + margin`` (arXiv:1503.03832, equation 4); a pair
      without such a negative forms no triplet. The paper names no substitute, and none is taken;
    - ``hard``: of each anchor the farthest positive with the nearest negative (arXiv:1703.07737, equation 5).

    Args:
        anchors: ``(n, D)``, not normalised here.
        anchor_labels: ``(n,)`` int64.
        candidates: ``(n, D)``, one row per anchor, of another view or modality, such as the texts of pictures. None =
            the anchors themselves; then no row is its own positive.
        candidate_labels: ``(n,)`` int64, exactly where there are candidates.
        margin: in units of the distance.
        distance: ``euclidean``, ``sq_euclidean`` or ``cosine`` (1 - cos).
        mining: which triplets.
        across: the batch of all processes, whose rows are the candidates; by default these rows are all.
        memory: ``(K, D)`` past candidates without gradient and their ``(K,)`` labels: positives where equal.
        group_ids: ``(n,)`` int64, of the anchors and of the candidates beside them. A candidate of an anchor's group is
            no negative of it: of another label it is neither. None = no two rows are of a group.
        memory_group_ids: ``(K,)`` int64, of the memory; None = no past candidate is of an anchor's group.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none: rows that share one are, likewise, no
            negatives of each other. None = no two rows share one.
        memory_text_ids: ``(K, U)`` int64, of the memory; None = no past candidate shares a text.
        generator: for ``random``, of the tensors' device; None = torch's own. Each process draws for its anchors.

    Returns:
        A scalar: the sum over the triplets of these anchors / the number of triplets of all processes; 0, with
        gradient 0, where there is none. Memory is a few ``(n, N + K)`` matrices, whatever the mining.

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
    if mining in ("all", "semi_hard"):
        total, num_triplets = hinge_over_triplets(compared, margin, semi_hard=mining == "semi_hard")
    else:
        chosen = hard_triplets(compared) if mining == "hard" else random_triplets(compared, generator)
        far = compared.distances[chosen.anchors, chosen.positives]
        near = compared.distances[chosen.anchors, chosen.negatives]
        total = F.relu(far - near + margin).sum()
        num_triplets = torch.tensor(len(chosen.anchors), device=anchors.device)
    return total / across.sum(num_triplets.to(total.dtype)).clamp(min=1)
