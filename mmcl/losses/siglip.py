"""The sigmoid loss of SigLIP (arXiv:2303.15343, algorithm 1), without its N x N matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape
from mmcl.losses.groups import left_out, left_out_of_keys
from mmcl.losses.marks import GroupMarks, Marks
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import Plan, TileMaker


@in_full_precision
def siglip_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    group_ids: Tensor | None = None,
    *,
    text_ids: Tensor | None = None,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor, Tensor] | None = None,
    memory_text_ids: Tensor | None = None,
) -> Tensor:
    """Logistic loss of every pair of image and text, **summed** over the texts, mean over the images.

    ``1 / N sum over i, j of -log sigmoid(y_ij (scale * x_i . t_j + bias))``, y = 1 where the rows are of one
    group and -1 elsewhere.

    Args:
        images: ``(n, D)`` unit norm.
        texts: ``(n, D)`` unit norm, the text of each row.
        scale: t, the inverse temperature, a scalar; the paper starts at 10.
        bias: b, a scalar; the paper starts at -10.
        group_ids: ``(n,)`` int64, pairs of equal id are positive; None = every row is a group of its own.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none. Pairs of rows of different groups that
            share a text are left out. None = no two rows do.
        across: the batch of all processes; by default these rows are all.
        memory: ``(K, D)`` past images, ``(K, D)`` past texts and their ``(K,)`` group ids, the same on every process.
            Each image is further paired with the past texts and each text with the past images, as negatives without
            gradient; pairs of one group are left out.
        memory_text_ids: ``(K, U)`` int64 ids of the texts of the memory's rows; None = none of theirs is a row's.

    Returns:
        A scalar: the sum over these images' pairs / N.

    Raises:
        ValueError: shapes do not fit each other.
    """
    check_same_shape(images=images, texts=texts)
    check_ids(len(images), group_ids=group_ids)
    across = Alone(len(images)) if across is None else across
    positives = GroupMarks(across.offset)
    if group_ids is not None:
        samples = across.offset + torch.arange(len(group_ids), device=group_ids.device)
        ids = torch.stack([group_ids, samples], dim=1)
        all_ids = across.gather(ids)
        positives = GroupMarks(across.offset, ids[:, 0], all_ids[:, 0], ids[:, 1], all_ids[:, 1])
    excluded = left_out(across, None, text_ids, group_ids)
    loss = _pair_losses(images, across.gather(texts), scale, bias, positives, excluded)
    if memory is not None:
        past_images, past_texts, past_ids = memory
        excluded = left_out_of_keys(images, past_texts, (group_ids, past_ids), (text_ids, memory_text_ids))
        loss = loss + _pair_losses(images, past_texts.detach(), scale, bias, None, excluded)
        loss = loss + _pair_losses(texts, past_images.detach(), scale, bias, None, excluded)
    return loss / max(across.total, 1)


def _pair_losses(
    images: Tensor,
    texts: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    positives: Marks | None,
    excluded: Marks | None,
) -> Tensor:
    """Return the sum of the logistic losses of all pairs that are not excluded."""
    # Some checkpoints hold them as one row.
    factor = torch.as_tensor(scale, dtype=images.dtype, device=images.device).reshape(())
    summand = torch.as_tensor(bias, dtype=images.dtype, device=images.device).reshape(())
    plan = Plan(len(images), len(texts), False, False, excluded, torch.is_grad_enabled())
    loss: Tensor = _PairLosses.apply(images, texts, factor, summand, plan, positives)
    return loss


class _PairLosses(torch.autograd.Function):
    """Sum of the logistic losses. A loss of single pairs needs no sums first: the gradient comes with the value."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, plan: Plan, positives: Marks | None
    ) -> Tensor:
        wants_images, wants_texts, wants_scale, wants_bias = (
            wanted and plan.takes_gradient for wanted in ctx.needs_input_grad[:4]
        )
        d_images = torch.zeros_like(images) if wants_images or wants_scale else None
        d_texts = torch.zeros_like(texts) if wants_texts else None
        losses, d_biases = images.new_zeros(len(images)), images.new_zeros(len(images))
        maker = TileMaker(images, texts, scale, plan)
        for rows, cols in plan.tiles(images.device):
            d_scores = _tile_losses(maker, bias, positives, rows, cols, losses)
            if d_images is not None:
                d_images[rows].addmm_(d_scores, texts[cols])
            if d_texts is not None:
                d_texts[cols].addmm_(d_scores.T, images[rows])
            if wants_bias:
                d_biases[rows] += d_scores.sum(dim=1)
        d_scale = torch.linalg.vecdot(d_images, images).sum() if wants_scale and d_images is not None else None
        for gradient in (d_images, d_texts):
            if gradient is not None:
                gradient.mul_(scale)
        ctx.save_for_backward(d_images if wants_images else None, d_texts, d_scale, d_biases.sum())
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (None if gradient is None else gradient * grad_outputs[0] for gradient in ctx.saved_tensors)
        return (*gradients, None, None)


def _tile_losses(
    maker: TileMaker, bias: Tensor, positives: Marks | None, rows: slice, cols: slice, losses: Tensor
) -> Tensor:
    """Add the losses of a tile's pairs to those of their rows; return the derivative by the scores."""
    scores = maker.scores(rows, cols).add_(bias)
    excluded = None if maker.excluded is None else maker.excluded.mask(rows, cols, scores.device)
    is_positive = None if positives is None else positives.mask(rows, cols, scores.device)
    if excluded is not None:
        scores.masked_fill_(excluded, -torch.inf)
    if is_positive is not None:
        torch.where(is_positive, -scores, scores, out=scores)
    # softplus(x) = max(x, 0) + log(1 + exp(-|x|)), in pieces: torch's own is eight times as slow on a processor.
    work = maker.buffer("work", *scores.shape)
    torch.abs(scores, out=work).neg_().exp_().log1p_()
    losses[rows] += work.add_(torch.clamp(scores, min=0, out=maker.buffer("positive", *scores.shape))).sum(dim=1)
    derivative = scores.sigmoid_()
    if is_positive is not None:
        torch.where(is_positive, -derivative, derivative, out=derivative)
    return derivative
