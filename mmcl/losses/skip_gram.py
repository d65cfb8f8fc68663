"""Skip-gram with negative sampling (arXiv:1310.4546, equation 4)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.precision import in_full_precision


@in_full_precision
def skip_gram_loss(
    centres: Tensor,
    contexts: Tensor,
    negatives: Tensor,
    *,
    excluded: Tensor | None = None,
    across: Across | None = None,
) -> Tensor:
    """``-log sigmoid(u . v) - sum over the K negatives of log sigmoid(-u_k . v)``, mean over pairs.

    A **sum** over the negatives, and plain dot products: nothing is normalised.

    Args:
        centres: ``(n, D)``, input vectors v of the centre words.
        contexts: ``(n, D)``, output vectors u of the words seen beside them.
        negatives: ``(n, K, D)``, output vectors of K noise words per pair, drawn in proportion to count^0.75.
        excluded: ``(n, K)`` bool, draws that do not count, such as the context word itself.
        across: the batch of all processes; by default these rows are all.

    Returns:
        A scalar: the sum over these rows / N, the mean on one process.
    """
    across = Alone(len(centres)) if across is None else across
    log_seen = F.logsigmoid((contexts * centres).sum(dim=1))
    log_unseen = F.logsigmoid(-(negatives @ centres[:, :, None]).squeeze(2))
    if excluded is not None:
        log_unseen = log_unseen.masked_fill(excluded, 0)
    return -(log_seen.sum() + log_unseen.sum()) / max(across.total, 1)
