"""Distillation of a teacher's similarities and embeddings into a student (CLIP-KD, arXiv:2307.12732)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_same_shape
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import Plan, TileMaker, both_log_sums

Pair = tuple[Tensor, Tensor]


@in_full_precision
def distillation_loss(
    student: Pair,
    teacher: Pair,
    student_scale: Tensor | float,
    teacher_scale: Tensor | float,
    *,
    across: Across | None = None,
) -> Tensor:
    """Cross-entropy of the student's softmax over the batch against the teacher's, mean of both directions.

    ``-sum over j of p_ij log q_ij`` for each row, p being the teacher's softmax over the rows of the other modality and
    q the student's; likewise for each column. It is contrastive relational distillation (arXiv:2307.12732) as
    open_clip's ``DistillClipLoss`` has it. The Kullback-Leibler divergence is this less the teacher's own entropy, and
    has the same gradient.

    Args:
        student: images and texts, ``(n, D)`` each, unit norm, row by row beside each other.
        teacher: the same rows, ``(n, E)`` each, unit norm; takes no gradient, whatever it carries.
        student_scale: 1 / temperature of the student, a scalar.
        teacher_scale: 1 / temperature of the teacher, a scalar.
        across: the batch of all processes; by default these rows are all. Only texts and log-sums travel.

    Returns:
        A scalar: the sum of both directions over these rows, divided by ``2 N``: the mean on one process. The ``N x N``
        matrix is never held (`mmcl.losses.tiles`).

    Raises:
        ValueError: shapes do not fit each other.
    """
    _check_rows(student, teacher)
    images, texts = student
    teacher_images, teacher_texts = (rows.detach() for rows in teacher)
    across = Alone(len(images)) if across is None else across
    own = slice(across.offset, across.offset + len(images))
    all_texts, all_teacher_texts = across.gather(texts), across.gather(teacher_texts)
    to_texts, to_images = both_log_sums(images, all_texts, student_scale)
    log_sums = to_texts + across.logsumexp(to_images)[own]
    with torch.no_grad():
        rows, columns = both_log_sums(teacher_images, all_teacher_texts, teacher_scale)
        soft_targets = _SoftTargets(
            teacher_images, all_teacher_texts, _scalar(teacher_scale, images), rows, across.logsumexp(columns)
        )
    expected: Tensor = _ExpectedScores.apply(images, all_texts, _scalar(student_scale, images), soft_targets)
    return (log_sums.sum() - expected) / (2 * max(across.total, 1))


@in_full_precision
def feature_distillation_loss(student: Pair, teacher: Pair, *, across: Across | None = None) -> Tensor:
    """Mean over the batch of the **sum** of the squared distances of images and of texts from the teacher's.

    ``|x_i - x'_i|^2 + |t_i - t'_i|^2``, from 0 to 8 (feature distillation, arXiv:2307.12732). The paper's weight of
    2,000 is on the mean over the dimensions: 2,000 / D here.

    Args:
        student: images and texts, ``(n, D)`` each, unit norm.
        teacher: the same rows, ``(n, D)`` each, unit norm; takes no gradient, whatever it carries.
        across: the batch of all processes; by default these rows are all.

    Returns:
        A scalar: the sum over these rows / N, the mean on one process.

    Raises:
        ValueError: shapes do not fit each other.
    """
    check_same_shape(images=student[0], texts=student[1], teacher_images=teacher[0], teacher_texts=teacher[1])
    across = Alone(len(student[0])) if across is None else across
    distances = [(mine - its.detach()).square().sum() for mine, its in zip(student, teacher, strict=True)]
    return torch.stack(distances).sum() / max(across.total, 1)


def _check_rows(student: Pair, teacher: Pair) -> None:
    check_same_shape(images=student[0], texts=student[1])
    check_same_shape(teacher_images=teacher[0], teacher_texts=teacher[1])
    if len(student[0]) != len(teacher[0]):
        raise ValueError(f"student and teacher must have the same rows, got {len(student[0])} and {len(teacher[0])}")


def _scalar(value: Tensor | float, like: Tensor) -> Tensor:
    # Some checkpoints hold it as one row.
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(())


class _SoftTargets:
    """The teacher's softmax over rows plus that over columns, ``(n, m)``, a tile at a time.

    Args:
        images: ``(n, E)``.
        texts: ``(m, E)``.
        scale: its 1 / temperature.
        rows: ``(n,)`` log-sum-exps of its scores over all texts.
        columns: ``(m,)`` those over all images.
    """

    def __init__(self, images: Tensor, texts: Tensor, scale: Tensor, rows: Tensor, columns: Tensor) -> None:
        self.plan = Plan(len(images), len(texts), False, False, None)
        self.maker = TileMaker(images, texts, scale, self.plan)
        self.rows, self.columns = rows, columns

    def tile(self, rows: slice, cols: slice) -> Tensor:
        """Return a tile, which lies in memory that the next one takes."""
        scores = self.maker.scores(rows, cols)
        by_row = torch.sub(scores, self.rows[rows, None], out=self.maker.buffer("by_row", *scores.shape)).exp_()
        return scores.sub_(self.columns[cols]).exp_().add_(by_row)


class _ExpectedScores(torch.autograd.Function):
    """The student's scores, each weighted by its soft target, added up.

    The targets are constant and the scores linear in each input, so the gradient comes with the value.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, soft_targets: _SoftTargets) -> Tensor:
        d_images = torch.zeros_like(images)
        d_texts = torch.zeros_like(texts) if ctx.needs_input_grad[1] else None
        for rows, cols in soft_targets.plan.tiles(images.device):
            weights = soft_targets.tile(rows, cols)
            d_images[rows].addmm_(weights, texts[cols])
            if d_texts is not None:
                d_texts[cols].addmm_(weights.T, images[rows])
        expected = torch.linalg.vecdot(d_images, images).sum()
        ctx.save_for_backward(d_images, d_texts, expected, scale)
        return scale * expected

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        d_images, d_texts, d_scale, scale = ctx.saved_tensors
        factor = grad_outputs[0] * scale
        return d_images * factor, None if d_texts is None else d_texts * factor, d_scale * grad_outputs[0], None
