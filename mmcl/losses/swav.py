"""The swapped prediction of SwAV, with any number of crops (arXiv:2006.09882, equations 1, 2 and 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_temperature, check_views
from mmcl.losses.precision import in_full_precision


@in_full_precision
def swav_loss(
    scores: Sequence[Tensor],
    codes: Sequence[Tensor],
    temperature: Tensor | float = 0.1,
    *,
    across: Across | None = None,
) -> Tensor:
    """Cross-entropy of each global crop's code with the prediction of every **other** crop.

    ``mean over codes i of mean over crops v != i of mean over rows of -sum over k of q_ik log softmax(s_v / T)_k``.

    Args:
        scores: one ``(n, K)`` per crop, the global crops first: cosines of embeddings and prototypes (both unit norm).
        codes: one ``(n, K)`` for each of the first ``len(codes)`` crops, from `sinkhorn`; rows sum to 1. They take no
            gradient.
        temperature: T > 0.
        across: the batch of all processes; by default these rows are all.

    Returns:
        A scalar: the sum over these rows / N, the mean on one process. With all scores equal it is ln K.

    Raises:
        ValueError: there are fewer than two crops, no code, or more codes than crops; shapes differ, or the temperature
            is not positive.
    """
    if len(scores) < 2:
        raise ValueError(f"scores must hold two crops at least, got {len(scores)}")
    if not 1 <= len(codes) <= len(scores):
        raise ValueError(f"codes must be of 1 to {len(scores)} crops, got {len(codes)}")
    check_views([*scores, *codes], "scores and codes")
    check_temperature(temperature)
    across = Alone(len(scores[0])) if across is None else across
    # A crop's log-probabilities meet the sum of the codes it is to predict, so that each is computed once.
    every_code = torch.stack([code.detach() for code in codes]).sum(dim=0)
    total = scores[0].new_zeros(())
    for crop, crop_scores in enumerate(scores):
        if len(codes) == 1 and crop == 0:
            continue
        others = every_code - codes[crop].detach() if crop < len(codes) else every_code
        total = total - (others * F.log_softmax(crop_scores / temperature, dim=1)).sum()
    return total / (max(across.total, 1) * len(codes) * (len(scores) - 1))
