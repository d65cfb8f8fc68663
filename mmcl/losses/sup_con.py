"""Supervised contrastive learning (arXiv:2004.11362), and its semi-supervised case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_temperature, check_views
from mmcl.losses.groups import sums_by_id, with_memory
from mmcl.losses.marks import OtherClassMarks
from mmcl.losses.nt_xent import log_sums_without_self, repeated
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import row_log_sums

UNLABELLED = -1


@in_full_precision
def sup_con_loss(
    views: Sequence[Tensor],
    labels: Tensor,
    temperature: float = 0.1,
    group_ids: Tensor | None = None,
    *,
    form: Literal["out", "in"] = "out",
    text_ids: Tensor | None = None,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
    memory_group_ids: Tensor | None = None,
    memory_text_ids: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of every view over all others, of which all of its class are positives, mean over anchors.

    ``out`` (equation 2): ``1 / |P| sum over p in P of [-s_ip + log sum over a != i of exp s_ia]``; ``in`` (equation 3):
    ``-log[1 / |P| sum over p in P of exp s_ip / sum over a != i of exp s_ia]``, with ``s = z . z / T``. The denominator
    keeps the positives. An anchor without a positive counts as 0 and stays in the mean.

    Args:
        views: V >= 1 tensors ``(n, D)``, unit norm; row i of each is a view of sample i.
        labels: ``(n,)`` int64; negative = unlabelled, whose positives are the sample's own other views alone.
        temperature: T > 0.
        group_ids: ``(n,)`` int64. What is of an anchor's group but no positive of it is left out of its sum.
        form: where the sum over positives stands, outside or inside of the logarithm.
        text_ids: ``(n, U)`` int64 ids of each sample's texts, negative for none. Of samples that share a text, those
            that are no positives are left out of each other's sums too. None = no two do.
        across: the batch of all processes; by default these rows are all.
        memory: ``(K, D)`` past embeddings without gradient and their ``(K,)`` **labels**, the same on every process:
            further positives where labels are equal, negatives elsewhere.
        memory_group_ids: ``(K,)`` int64, of the memory. What is of an anchor's group but not of its label is left out.
            None = no past embedding is of an anchor's group.
        memory_text_ids: ``(K, U)`` int64 ids of the texts of the memory's rows; None = none of theirs is a row's.

    Returns:
        A scalar: the sum over these anchors / (V N), the mean on one process.

    Raises:
        ValueError: there is no view, the form is unknown, shapes do not fit each other, or the temperature is not
            positive.
    """
    if not views or form not in ("out", "in"):
        raise ValueError(f"sup_con_loss needs a view and form 'out' or 'in', got {len(views)} views and {form!r}")
    check_views(views)
    check_ids(len(views[0]), labels=labels, group_ids=group_ids)
    check_temperature(temperature)
    across = Alone(len(labels)) if across is None else across
    num_views, scale = len(views), 1 / temperature
    stacked = torch.stack(list(views), dim=1)
    rows, columns = stacked.flatten(0, 1), across.gather(stacked).flatten(0, 1)
    # An unlabelled sample is a class of its own, with a name that no label and no other sample has.
    samples = across.offset + torch.arange(len(labels), device=labels.device)
    classes = torch.where(labels < 0, UNLABELLED - 1 - samples, labels)
    row_classes = classes.repeat_interleave(num_views)
    col_classes = across.gather(classes).repeat_interleave(num_views)
    log_sums = log_sums_without_self(rows, columns, scale, num_views, group_ids, text_ids, classes, across)
    if memory is not None:
        row_groups, texts = repeated(num_views, group_ids), (repeated(num_views, text_ids), memory_text_ids)
        memory = memory[0], memory[1].clamp(min=UNLABELLED)
        past, past_labels = memory
        both_classes = row_classes, past_labels
        log_sums = with_memory(log_sums, rows, scale, row_groups, past, memory_group_ids, both_classes, texts)
    pool = _Pool(rows, columns, row_classes, col_classes, num_views * across.offset, memory)
    positive, num_positives = pool.mean_scores(scale) if form == "out" else pool.log_mean_exponentials(scale)
    losses = torch.where(num_positives > 0, log_sums - positive, 0.0)
    return losses.sum() / (num_views * max(across.total, 1))


class _Pool:
    """Where anchors find their positives: the batch and the memory."""

    def __init__(
        self,
        rows: Tensor,
        columns: Tensor,
        row_classes: Tensor,
        col_classes: Tensor,
        offset: int,
        memory: tuple[Tensor, Tensor] | None,
    ) -> None:
        self.rows, self.row_classes, self.offset = rows, row_classes, offset
        past, past_classes = (columns[:0], col_classes[:0]) if memory is None else (memory[0].detach(), memory[1])
        self.columns, self.col_classes = torch.cat([columns, past]), torch.cat([col_classes, past_classes])

    def mean_scores(self, scale: float) -> tuple[Tensor, Tensor]:
        """Return the mean score of each row's positives (0 without any) and their number, ``(V n,)``."""
        sums, counts = sums_by_id(self.columns, self.col_classes, self.row_classes)
        num_positives = counts - 1
        scores = scale * (self.rows * (sums - self.rows)).sum(dim=1)
        return scores / num_positives.clamp(min=1), num_positives

    def log_mean_exponentials(self, scale: float) -> tuple[Tensor, Tensor]:
        """Return the logarithm of the mean of ``exp s`` over each row's positives, and their number."""
        # In the order of the classes all but the tiles along a diagonal hold no positives, and are skipped.
        row_order, col_order = torch.argsort(self.row_classes), torch.argsort(self.col_classes)
        others = OtherClassMarks(
            self.row_classes[row_order], self.col_classes[col_order], self.offset + row_order, col_order
        )
        in_order = row_log_sums(self.rows[row_order], self.columns[col_order], scale, others)
        log_sums = in_order[torch.argsort(row_order)]
        _, counts = sums_by_id(self.columns[:, :0], self.col_classes, self.row_classes)
        return log_sums - (counts - 1).clamp(min=1).to(log_sums.dtype).log(), counts - 1
