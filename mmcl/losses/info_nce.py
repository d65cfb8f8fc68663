"""InfoNCE with any number of positives per query (arXiv:1807.03748; arXiv:2004.11362, equation 2, L_out)."""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(queries: Tensor, keys: Tensor, scale: Tensor | float, positives: Tensor) -> Tensor:
    """Cross-entropy of each query against all keys, averaged over the query's positives.

    ``loss_i = logsumexp_j(s_ij) - mean over positives p of s_ip`` with ``s_ij = scale * (q_i . k_j)``. With one
    positive per query this is InfoNCE; with several it is L_out of supervised contrastive learning, whose denominator
    keeps the other positives.

    Args:
        queries: ``(n, D)``, unit norm for the cosine similarity.
        keys: ``(m, D)``, likewise.
        scale: 1 / temperature, a scalar.
        positives: ``(n, m)`` bool; true where the key is a positive of the query. A query without any counts as 0.

    Returns:
        ``(n,)`` losses, not reduced.
    """
    scores = scale * (queries @ keys.T)
    num_positives = positives.sum(dim=1)
    positive_mean = (scores * positives).sum(dim=1) / num_positives.clamp(min=1)
    return (torch.logsumexp(scores, dim=1) - positive_mean) * (num_positives > 0)
