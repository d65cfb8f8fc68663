"""NT-Xent, the loss of SimCLR (arXiv:2002.05709, equation 1), for two or more views of each sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_temperature, check_views
from mmcl.losses.groups import with_memory
from mmcl.losses.marks import GroupMarks
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import row_log_sums, self_log_sums


@in_full_precision
def nt_xent_loss(
    views: Sequence[Tensor],
    temperature: float = 0.1,
    group_ids: Tensor | None = None,
    *,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Cross-entropy of every view of every sample over all other views of all samples, mean over anchors.

    ``loss_i = -mean over positives p of s_ip + log sum over k != i of exp s_ik`` with ``s_ik = z_i . z_k / T``. The
    positives are the sample's other views, and the sum keeps them: with two views of N samples ``2N - 1`` terms, mean
    over the ``2N`` anchors. (The paper's TensorFlow 2 code yields twice this.)

    Args:
        views: V >= 2 tensors ``(n, D)``, unit norm; row i of each is a view of sample i.
        temperature: T > 0.
        group_ids: ``(n,)`` int64. Other samples of an anchor's group are left out of its sum: neither positives nor
            negatives. None = every sample is a group of its own.
        across: the batch of all processes; by default these rows are all.
        memory: ``(K, D)`` past embeddings without gradient and their ``(K,)`` group ids, the same on every process;
            further negatives, those of an anchor's group left out.

    Returns:
        A scalar: the sum over these anchors / (V N), the mean on one process. The matrix of scores is never held, and
        on one process its symmetry halves the work.

    Raises:
        ValueError: there are fewer than two views, shapes do not fit each other, or the temperature is not positive.
    """
    if len(views) < 2:
        raise ValueError(f"views must be two or more, got {len(views)}")
    check_views(views)
    check_ids(len(views[0]), group_ids=group_ids)
    check_temperature(temperature)
    across = Alone(len(views[0])) if across is None else across
    num_views = len(views)
    # All views of a sample stand together, so that the rows of all processes are in the order of their samples.
    stacked = torch.stack(list(views), dim=1)
    rows, columns = stacked.flatten(0, 1), across.gather(stacked).flatten(0, 1)
    log_sums = log_sums_without_self(rows, columns, 1 / temperature, num_views, group_ids, None, across)
    if memory is not None:
        row_groups = None if group_ids is None else group_ids.repeat_interleave(num_views)
        log_sums = with_memory(log_sums, rows, 1 / temperature, row_groups, *memory)
    others = stacked.sum(dim=1, keepdim=True) - stacked
    positive = (stacked * others).sum(dim=2).flatten() / ((num_views - 1) * temperature)
    return (log_sums - positive).sum() / (num_views * max(across.total, 1))


def log_sums_without_self(
    rows: Tensor,
    columns: Tensor,
    scale: float,
    num_views: int,
    group_ids: Tensor | None,
    classes: Tensor | None,
    across: Across,
) -> Tensor:
    """Return ``(V n,)``, the log-sum-exp of each row over all columns but itself and its group's other classes.

    Args:
        rows: ``(V n, D)``, the V views of a sample one after the other.
        columns: ``(V N, D)``, the rows of all processes.
        scale: 1 / temperature.
        num_views: V.
        group_ids: ``(n,)`` int64; None = no groups.
        classes: ``(n,)`` int64, what is kept though it is of the row's group; None = the sample itself.
        across: the batch of all processes.
    """
    diagonal = num_views * across.offset
    excluded = GroupMarks(diagonal)
    if group_ids is not None:
        if classes is None:
            classes = across.offset + torch.arange(len(group_ids), device=group_ids.device)
        ids = torch.stack([group_ids, classes], dim=1)
        of_rows = ids.repeat_interleave(num_views, dim=0)
        of_columns = across.gather(ids).repeat_interleave(num_views, dim=0)
        excluded = GroupMarks(diagonal, of_rows[:, 0], of_columns[:, 0], of_rows[:, 1], of_columns[:, 1])
    if len(rows) == len(columns):
        return self_log_sums(columns, scale, excluded)
    return row_log_sums(rows, columns, scale, excluded)
