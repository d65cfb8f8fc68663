"""The CLIP loss: InfoNCE from pictures to texts and from texts to pictures (arXiv:2103.00020, figure 3)."""

from __future__ import annotations

from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids, check_same_shape
from mmcl.losses.groups import mean_positives, with_memory, with_negatives
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import pair_log_sums


@in_full_precision
def clip_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor | float,
    group_ids: Tensor | None = None,
    *,
    across: Across | None = None,
    memory: tuple[Tensor, Tensor, Tensor] | None = None,
    negatives: tuple[Tensor, Tensor] | None = None,
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
        across: the batch of all processes; by default these rows are all. Only texts travel: image log-sums are
            complete here, and of the text log-sums each process has a part.
        memory: ``(K, D)`` past images, ``(K, D)`` past texts and their ``(K,)`` group ids, the same on every process.
            Further negatives of the other modality, without gradient; those of a row's group are left out.
        negatives: ``(Q, D)`` hard-negative texts of unit norm, of all processes and with a gradient, and ``(Q,)`` group
            ids, the same on every process. Nobody's positive, they join the texts that images are compared with
            (arXiv:2210.01936), but for images of their group.

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
    to_texts, to_images, positive = pair_log_sums(images, all_texts, scale, across.offset)
    to_images = across.logsumexp(to_images)[across.offset : across.offset + len(images)]
    if negatives is not None:
        to_texts = with_negatives(to_texts, images, scale, group_ids, *negatives)
    if memory is not None:
        past_images, past_texts, past_ids = memory
        to_texts = with_memory(to_texts, images, scale, group_ids, past_texts, past_ids)
        to_images = with_memory(to_images, texts, scale, group_ids, past_images, past_ids)
    # Both directions have the same positive pairs, each with the same weight 1 / |group|: one term stands for both.
    if group_ids is not None and all_ids is not None:
        positive = scale * (images * mean_positives(all_texts, group_ids, all_ids)).sum(dim=1)
    return (to_texts + to_images - 2 * positive).sum() / (2 * max(across.total, 1))
