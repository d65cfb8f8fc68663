"""The CLIP loss: InfoNCE from pictures to texts and from texts to pictures (arXiv:2103.00020, figure 3)."""

from __future__ import annotations

from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape
from mmcl.losses.groups import left_out, mean_positives, with_memory, with_negatives
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import pair_log_sums


@in_full_precision
def clip_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor | float,
    group_ids: Tensor | None = None,
    *,
    text_ids: Tensor | None = None,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor, Tensor] | None = None,
    memory_text_ids: Tensor | None = None,
    negatives: tuple[Tensor, Tensor, Tensor | None] | None = None,
) -> Tensor:
    """Mean of the two directions of InfoNCE, in which rows of equal group are positives of each other.

    With groups each direction is L_out of supervised contrastive learning across modalities (arXiv:2004.11362,
    equation 2; arXiv:2204.03610): the mean over a row's positives of ``-s_ip + log sum over j of exp s_ij``, whose sum
    keeps all of them.

    Args:
        images: ``(n, D)`` unit norm.
        texts: ``(n, D)`` unit norm, the text of each row.
        scale: 1 / temperature, a scalar.
        group_ids: ``(n,)`` int64; None = every row is a group of its own, the plain CLIP loss.
        text_ids: ``(n, V)`` int64 ids of each row's texts, negative for none. Rows of different groups that share a
            text are left out of each other's sums: neither positives nor negatives. None = no two rows do.
        across: the batch of all processes; by default these rows are all. Only texts travel: image log-sums are
            complete here, and of the text log-sums each process has a part.
        memory: ``(K, D)`` past images, ``(K, D)`` past texts and their ``(K,)`` group ids, the same on every process.
            Further negatives of the other modality, without gradient; those of a row's group are left out.
        memory_text_ids: ``(K, U)`` int64 ids of the texts of the memory's rows; None = none of theirs is a row's.
        negatives: ``(Q, D)`` hard-negative texts of unit norm, of all processes and with a gradient, their ``(Q,)``
            group ids and ``(Q, 1)`` text ids or None, the same on every process. Nobody's positive, they join the texts
            that images are compared with (arXiv:2210.01936), but for images of their group or with their text.

    Returns:
        A scalar: the sum of both directions over these rows, divided by ``2 N``: the mean on one process. The
        ``N x N`` matrix is never held (`mmcl.losses.tiles`).

    Raises:
        ValueError: shapes do not fit each other.
    """
    check_same_shape(images=images, texts=texts)
    check_ids(len(images), group_ids=group_ids)
    across = Alone(len(images)) if across is None else across
    all_texts = across.gather(texts)
    all_ids = None if group_ids is None else across.gather(group_ids)
    excluded = left_out(across, None, text_ids, group_ids)
    to_texts, to_images, positive = pair_log_sums(images, all_texts, scale, across.offset, excluded)
    to_images = across.logsumexp(to_images)[across.offset : across.offset + len(images)]
    if negatives is not None:
        wrong, wrong_ids, wrong_text_ids = negatives
        to_texts = with_negatives(
            to_texts, images, scale, group_ids, wrong, wrong_ids, texts=(text_ids, wrong_text_ids)
        )
    if memory is not None:
        past_images, past_texts, past_ids = memory
        shared = text_ids, memory_text_ids
        to_texts = with_memory(to_texts, images, scale, group_ids, past_texts, past_ids, texts=shared)
        to_images = with_memory(to_images, texts, scale, group_ids, past_images, past_ids, texts=shared)
    # Both directions have the same positive pairs, each with the same weight 1 / |group|: one term stands for both.
    if group_ids is not None and all_ids is not None:
        positive = scale * (images * mean_positives(all_texts, group_ids, all_ids)).sum(dim=1)
    return (to_texts + to_images - 2 * positive).sum() / (2 * max(across.total, 1))
