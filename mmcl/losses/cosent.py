"""CoSENT: pairs of texts whose cosines are to be in the order of their scores (Huang et al., "CoSENT: Consistent
Sentence Embedding via Similarity Ranking", TASLP 2024, doi:10.1109/TASLP.2024.3402087)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape, check_temperature
from mmcl.losses.precision import in_full_precision


@in_full_precision
def cosent_loss(
    first: Tensor, second: Tensor, scores: Tensor, temperature: float = 0.05, *, across: Across | None = None
) -> Tensor:
    """``log(1 + sum over rows i, j with score_i > score_j of exp((cos_j - cos_i) / T))``, cos_i that of row i's pair.

    Only the order of the scores counts. As ``exp(c_j - c_i)`` is a product, the sum over j is a cumulative sum over
    rows sorted by score: time is N log N, and no matrix is held.

    Args:
        first: ``(n, D)`` unit norm.
        second: ``(n, D)`` unit norm, the other text of each pair.
        scores: ``(n,)`` finite, on any scale.
        temperature: T > 0; 0.05 is the scale of 20 of the authors and of sentence-transformers.
        across: the batch of all processes, over whose rows the sum goes; by default these rows are all.

    Returns:
        A scalar: the loss times n / N, on one process the loss; 0 where no two scores differ.

    Raises:
        ValueError: shapes do not fit each other, or the temperature is not positive.
    """
    check_same_shape(first=first, second=second)
    check_ids(len(first), scores=scores)
    check_temperature(temperature)
    across = Alone(len(first)) if across is None else across
    cosines = (first * second).sum(dim=1) / temperature
    ordered, order = across.gather(scores).sort()
    cosines = across.gather(cosines)[order]
    nothing = cosines.new_full((1,), -torch.inf)
    # Entry k is the log-sum-exp of the k lowest rows; rows of equal score are not below each other.
    log_sums = torch.cat([nothing, torch.logcumsumexp(cosines, dim=0)])
    terms = log_sums[num_below(ordered)] - cosines
    loss = torch.logsumexp(torch.cat([cosines.new_zeros(1), terms]), dim=0)
    return loss * (len(first) / max(across.total, 1))


def num_below(ordered: Tensor) -> Tensor:
    """Return ``(N,)`` int64, for each of the ascending scores ``(N,)`` how many are lower."""
    return torch.searchsorted(ordered, ordered)
