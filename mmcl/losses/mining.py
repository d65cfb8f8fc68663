"""Which rows of a batch are compared: candidates, positives and negatives, and the choice among them.

Labels decide: rows of an equal label are positives of each other, rows of different labels negatives. A row of label -1
is unlabelled; nothing is known of it, and it takes no part, neither as anchor nor as positive nor as negative. Rows of
an equal group, or that share a text, are no negatives of each other, whatever their labels.

Below n is the number of anchors and M that of candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mmcl.losses.across import Across
from mmcl.losses.checks import check_ids, check_same_shape
from mmcl.losses.distances import Distance, distance_matrix
from mmcl.losses.groups import left_out, left_out_of_keys
from mmcl.losses.marks import dense_mask

Mining: TypeAlias = Literal["all", "random", "semi_hard", "hard"]


@dataclass(frozen=True)
class Comparison:
    """Anchors against candidates.

    Args:
        distances: ``(n, M)``, with gradient.
        positives: ``(n, M)`` bool, true where the labels are equal; never a row with itself.
        negatives: ``(n, M)`` bool, true where the labels differ; never of the anchor's group or texts.
    """

    distances: Tensor
    positives: Tensor
    negatives: Tensor


@dataclass(frozen=True)
class Triplets:
    """Chosen triplets: row of the anchor, column of the positive and of the negative, each ``(T,)`` int64."""

    anchors: Tensor
    positives: Tensor
    negatives: Tensor


def check_mining(mining: str) -> None:
    """Raise a ValueError where there is no such mining."""
    if mining not in get_args(Mining):
        raise ValueError(f"mining must be one of {', '.join(get_args(Mining))}, got {mining!r}")


def compare(
    anchors: Tensor,
    anchor_labels: Tensor,
    candidates: Tensor | None,
    candidate_labels: Tensor | None,
    distance: Distance,
    across: Across,
    memory: tuple[Tensor, Tensor] | None,
    group_ids: Tensor | None = None,
    memory_group_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
    memory_text_ids: Tensor | None = None,
) -> Comparison:
    """Compare this process's anchors with the candidates of all processes and with a memory.

    Args:
        anchors: ``(n, D)``.
        anchor_labels: ``(n,)`` int64.
        candidates: ``(n, D)`` of another view or modality; None = the anchors, in which case no row meets itself.
        candidate_labels: ``(n,)`` int64, exactly where there are candidates.
        distance: how far is far.
        across: the batch of all processes.
        memory: ``(K, D)`` past candidates, without gradient, and their ``(K,)`` labels.
        group_ids: ``(n,)`` int64, of the anchors and of the candidates beside them; None = no two rows are of a group.
        memory_group_ids: ``(K,)`` int64; None = no past candidate is of a row's group.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none; None = no two rows share one.
        memory_text_ids: ``(K, U)`` int64, likewise; None = no past candidate shares one.

    Raises:
        ValueError: of candidates and their labels only one is given, or shapes do not fit each other.
    """
    if (candidates is None) != (candidate_labels is None):
        raise ValueError("candidates and candidate_labels must be given both or neither")
    if candidates is not None:
        check_same_shape(anchors=anchors, candidates=candidates)
    check_ids(len(anchors), anchor_labels=anchor_labels, candidate_labels=candidate_labels, group_ids=group_ids)
    meets_itself = candidates is None
    columns = across.gather(anchors if candidates is None else candidates)
    every, device = slice(0, len(anchors)), anchors.device
    is_left_out = dense_mask(left_out(across, group_ids, text_ids), every, len(columns), device)
    column_labels = across.gather(anchor_labels if candidate_labels is None else candidate_labels)
    if memory is not None:
        columns = torch.cat([columns, memory[0].detach()])
        past = left_out_of_keys(anchors, memory[0], (group_ids, memory_group_ids), (text_ids, memory_text_ids))
        is_left_out = torch.cat([is_left_out, dense_mask(past, every, len(memory[0]), device)], dim=1)
        column_labels = torch.cat([column_labels, memory[1]])
    is_labelled = (anchor_labels >= 0)[:, None] & (column_labels >= 0)[None, :]
    is_equal = anchor_labels[:, None] == column_labels[None, :]
    positives, negatives = is_equal & is_labelled, ~is_equal & is_labelled & ~is_left_out
    if meets_itself:
        rows = torch.arange(len(anchors), device=anchors.device)
        positives[rows, across.offset + rows] = False
    return Comparison(distance_matrix(anchors, columns, distance), positives, negatives)


def hard_triplets(compared: Comparison) -> Triplets:
    """Of each anchor its farthest positive and its nearest negative ("batch hard", arXiv:1703.07737, equation 5).

    An anchor without a positive or without a negative has no triplet.
    """
    distances = compared.distances.detach()
    has_both = compared.positives.any(dim=1) & compared.negatives.any(dim=1)
    anchors = has_both.nonzero().squeeze(1)
    farthest = distances.masked_fill(~compared.positives, -torch.inf)[anchors]
    nearest = distances.masked_fill(~compared.negatives, torch.inf)[anchors]
    if len(anchors) == 0:
        return Triplets(anchors, anchors, anchors)
    return Triplets(anchors, farthest.argmax(dim=1), nearest.argmin(dim=1))


def random_triplets(compared: Comparison, generator: torch.Generator | None = None) -> Triplets:
    """Every pair of an anchor and a positive, each with one of the anchor's negatives drawn uniformly.

    An anchor without a negative has no triplet.

    Args:
        compared: anchors against candidates.
        generator: of the tensors' device; None = torch's own.
    """
    num_negatives = compared.negatives.sum(dim=1)
    anchors, positives = (compared.positives & (num_negatives > 0)[:, None]).nonzero().unbind(dim=1)
    # Of each row the columns of its negatives come first; a draw below their number picks one.
    negatives_first = compared.negatives.to(torch.uint8).argsort(dim=1, descending=True)
    draws = torch.rand(len(anchors), generator=generator, dtype=torch.float64, device=anchors.device)
    return Triplets(anchors, positives, negatives_first[anchors, (draws * num_negatives[anchors]).long()])


def hinge_over_triplets(compared: Comparison, margin: float, *, semi_hard: bool) -> tuple[Tensor, Tensor]:
    """Add up ``max(0, d(a,p) - d(a,n) + margin)`` over every triplet of the batch, or over the semi-hard ones.

    A triplet is semi-hard where ``d(a,p) < d(a,n) < d(a,p) + margin`` (arXiv:1503.03832, equation 4: farther than the
    positive, inside the margin). Sorting each anchor's negatives makes every sum over negatives a difference of
    prefix sums: the work is ``n M log M`` and the memory a few ``(n, M)`` matrices, never ``(n, M, M)``.

    Returns:
        The sum with gradient, and the number of triplets, both scalars.
    """
    distances, positives = compared.distances, compared.positives
    ordered = distances.masked_fill(~compared.negatives, torch.inf).sort(dim=1).values
    # In float64, since a small difference of two large sums would lose the digits of float32.
    finite = ordered.masked_fill(ordered == torch.inf, 0).double()
    prefix_sums = torch.cat([finite.new_zeros(len(finite), 1), finite.cumsum(dim=1)], dim=1)
    limits = distances + margin
    num_inside = torch.searchsorted(ordered.detach(), limits.detach().contiguous())
    num_skipped = torch.zeros_like(num_inside)
    if semi_hard:
        num_skipped = torch.searchsorted(ordered.detach(), distances.detach().contiguous(), right=True)
        num_inside = torch.maximum(num_inside, num_skipped)
    num_summed = num_inside - num_skipped
    hinge = num_summed * limits.double() - (prefix_sums.gather(1, num_inside) - prefix_sums.gather(1, num_skipped))
    if semi_hard:
        num_triplets = num_summed.masked_fill(~positives, 0).sum()
    else:
        num_triplets = (positives.sum(dim=1) * compared.negatives.sum(dim=1)).sum()
    return hinge.masked_fill(~positives, 0).sum().to(distances.dtype), num_triplets


def mined_pairs(
    compared: Comparison, mining: Mining, margin: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Choose similar and dissimilar pairs.

    - ``all``: every pair;
    - ``random``: every similar pair and, for each of them, one dissimilar pair of the same anchor, drawn uniformly
      with replacement, so that there are as many of both;
    - ``semi_hard``: every similar pair, and the dissimilar ones whose distance is more than that of the anchor's
      nearest positive and less than the margin;
    - ``hard``: of each anchor its farthest positive and its nearest negative, where it has them.

    Returns:
        How often each similar and each dissimilar pair counts, two ``(n, M)`` matrices without gradient.
    """
    distances = compared.distances.detach()
    similar, dissimilar = compared.positives.to(distances.dtype), compared.negatives.to(distances.dtype)
    if distances.numel() == 0:  # Of no rows there is neither a nearest nor a farthest.
        return similar, dissimilar
    if mining == "random":
        drawn = random_triplets(compared, generator)
        once = distances.new_ones(len(drawn.anchors))
        dissimilar = torch.zeros_like(distances).index_put((drawn.anchors, drawn.negatives), once, accumulate=True)
    if mining == "semi_hard":
        nearest = distances.masked_fill(~compared.positives, torch.inf).amin(dim=1, keepdim=True)
        dissimilar = dissimilar * ((distances > nearest) & (distances < margin))
    if mining == "hard":
        similar = _first_choice(distances, compared.positives, largest=True)
        dissimilar = _first_choice(distances, compared.negatives, largest=False)
    return similar, dissimilar


def _first_choice(distances: Tensor, allowed: Tensor, *, largest: bool) -> Tensor:
    """``(n, M)``: 1 at the largest or smallest allowed distance of each row that has one, 0 elsewhere."""
    ranked = (distances if largest else -distances).masked_fill(~allowed, -torch.inf)
    best = ranked.argmax(dim=1, keepdim=True)
    return torch.zeros_like(distances).scatter(1, best, 1.0) * allowed
