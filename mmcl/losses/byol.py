"""The loss of BYOL: predictions of one view's target projection from the other view (arXiv:2006.07733, equation 2)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_same_shape
from mmcl.losses.precision import in_full_precision


@in_full_precision
def byol_loss(
    prediction_1: Tensor, target_2: Tensor, prediction_2: Tensor, target_1: Tensor, *, across: Across | None = None
) -> Tensor:
    """Mean over the batch of the **sum** of both directions' squared distances of normalised vectors.

    ``|p_1 - z_2|^2 + |p_2 - z_1|^2`` with each ``p`` and ``z`` divided by its norm, which is ``2 - 2 cos`` each, so
    the loss lies between 0 and 8. Targets take no gradient, whatever they carry.

    Args:
        prediction_1: ``(n, D)``, the predictor's output for view 1; any norm.
        target_2: ``(n, D)``, the target network's projection of view 2; any norm.
        prediction_2: ``(n, D)``, the predictor's output for view 2.
        target_1: ``(n, D)``, the target network's projection of view 1.
        across: the batch of all processes; by default these rows are all.

    Returns:
        A scalar: the sum over these rows / N, the mean on one process.

    Raises:
        ValueError: shapes do not fit each other.
    """
    check_same_shape(prediction_1=prediction_1, target_2=target_2, prediction_2=prediction_2, target_1=target_1)
    across = Alone(len(prediction_1)) if across is None else across
    both = _squared_distances(prediction_1, target_2) + _squared_distances(prediction_2, target_1)
    return both.sum() / max(across.total, 1)


def _squared_distances(predictions: Tensor, targets: Tensor) -> Tensor:
    """``(n,)``; from the difference, since 2 - 2 cos loses all digits where the two agree."""
    return (F.normalize(predictions, dim=1) - F.normalize(targets.detach(), dim=1)).square().sum(dim=1)
