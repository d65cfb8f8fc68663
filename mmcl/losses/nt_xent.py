"""NT-Xent, the loss of SimCLR (arXiv:2002.05709, equation 1), for two or more views of each sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_temperature, check_views
from mmcl.losses.groups import left_out, with_memory
from mmcl.losses.marks import AnyMarks, GroupMarks
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import row_log_sums, self_log_sums


@in_full_precision
def nt_xent_loss(
    views: Sequence[Tensor],
    temperature: float = 0.1,
    group_ids: Tensor | None = None,
    *,
    text_ids: Tensor | None = None,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
    memory_text_ids: Tensor | None = None,
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
        text_ids: ``(n, U)`` int64 ids of each sample's texts, negative for none. Samples that share a text are left out
            of each other's sums too. None = no two do.
        across: the batch of all processes; by default these rows are all.
        memory: ``(K, D)`` past embeddings without gradient and their ``(K,)`` group ids, the same on every process;
            further negatives, those of an anchor's group left out.
        memory_text_ids: ``(K, U)`` int64 ids of the texts of the memory's rows; None = none of theirs is a row's.

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
    log_sums = log_sums_without_self(rows, columns, 1 / temperature, num_views, group_ids, text_ids, None, across)
    if memory is not None:
        row_groups, row_texts = repeated(num_views, group_ids), repeated(num_views, text_ids)
        texts = row_texts, memory_text_ids
        log_sums = with_memory(log_sums, rows, 1 / temperature, row_groups, *memory, texts=texts)
    others = stacked.sum(dim=1, keepdim=True) - stacked
    positive = (stacked * others).sum(dim=2).flatten() / ((num_views - 1) * temperature)
    return (log_sums - positive).sum() / (num_views * max(across.total, 1))


def repeated(num_views: int, ids: Tensor | None) -> Tensor | None:
    """Return ids of samples as those of their views, which follow each other; None of None."""
    return None if ids is None else ids.repeat_interleave(num_views, dim=0)


def log_sums_without_self(
    rows: Tensor,
    columns: Tensor,
    scale: float,
    num_views: int,
    group_ids: Tensor | None,
    text_ids: Tensor | None,
    classes: Tensor | None,
    across: Across,
) -> Tensor:
    """Return ``(V n,)``, the log-sum-exp of each row over all columns but itself and what it shares group or text with.

    Args:
        rows: ``(V n, D)``, the V views of a sample one after the other.
        columns: ``(V N, D)``, the rows of all processes.
        scale: 1 / temperature.
        num_views: V.
        group_ids: ``(n,)`` int64; None = no groups.
        text_ids: ``(n, U)`` int64 ids of each sample's texts; None = no two samples share one.
        classes: ``(n,)`` int64, what is kept though it is of the row's group or texts; None = the sample itself.
        across: the batch of all processes.
    """
    itself = GroupMarks(num_views * across.offset)
    others = left_out(across, group_ids, text_ids, classes, num_views)
    excluded = itself if others is None else AnyMarks([itself, others])
    if len(rows) == len(columns):
        return self_log_sums(columns, scale, excluded)
    return row_log_sums(rows, columns, scale, excluded)
