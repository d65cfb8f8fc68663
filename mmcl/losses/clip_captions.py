"""The CLIP loss of pictures with several captions each: supervised contrastive, L_out, across modalities."""

from __future__ import annotations

from torch import Tensor

from mmcl.losses.across import Across, Alone
from mmcl.losses.checks import check_ids
from mmcl.losses.groups import count_by_id, sums_by_id, with_memory, with_negatives
from mmcl.losses.marks import left_out_marks
from mmcl.losses.precision import in_full_precision
from mmcl.losses.tiles import both_log_sums


@in_full_precision
def clip_captions_loss(
    images: Tensor,
    captions: Tensor,
    scale: Tensor | float,
    group_ids: Tensor,
    caption_ids: Tensor,
    *,
    text_ids: Tensor | None = None,
    caption_text_ids: Tensor | None = None,
    across: tuple[Across, Across] | None = None,
    memory: tuple[Tensor, Tensor, Tensor] | None = None,
    memory_text_ids: Tensor | None = None,
    negatives: tuple[Tensor, Tensor, Tensor | None] | None = None,
) -> Tensor:
    """Mean of two directions: of the images over the captions, and of the captions over the images.

    In each the mean over a row's positives, which are those of its group, of ``-s_ip + log sum over j of exp s_ij``
    (arXiv:2004.11362, equation 2; arXiv:2204.03610). With one caption of each image it is `clip_loss`.

    Args:
        images: ``(n, D)`` unit norm.
        captions: ``(m, D)`` unit norm, one or several of each image.
        scale: 1 / temperature, a scalar.
        group_ids: ``(n,)`` int64.
        caption_ids: ``(m,)`` int64, each that of an image's group.
        text_ids: ``(n, V)`` int64 ids of each image's captions, negative where it has fewer than V. A caption of
            another group that is a text of an image's is left out: neither positive nor negative. None = none is.
        caption_text_ids: ``(m,)`` int64 ids of the captions; None = likewise.
        across: the images and the captions of all processes; by default these are all.
        memory: ``(K, D)`` past images, ``(K, D)`` past captions and their ``(K,)`` group ids, as `clip_loss` has them.
        memory_text_ids: ``(K, U)`` int64, likewise.
        negatives: ``(Q, D)`` hard-negative texts, their ``(Q,)`` group ids and ``(Q, 1)`` text ids, likewise.

    Returns:
        A scalar: this process's share, whose sum over processes is the loss. No matrix of scores is held.

    Raises:
        ValueError: ids are not one of each row.
    """
    check_ids(len(images), group_ids=group_ids)
    check_ids(len(captions), caption_ids=caption_ids)
    of_images, of_captions = (Alone(len(images)), Alone(len(captions))) if across is None else across
    all_captions, all_caption_ids = of_captions.gather(captions), of_captions.gather(caption_ids)
    caption_texts = None if caption_text_ids is None else caption_text_ids[:, None]
    all_texts = None if caption_texts is None else of_captions.gather(caption_texts)
    excluded = left_out_marks((group_ids, all_caption_ids), (None, None), (text_ids, all_texts))
    to_captions, to_images = both_log_sums(images, all_captions, scale, excluded)
    to_images = of_captions.logsumexp(to_images)[of_captions.offset : of_captions.offset + len(captions)]
    if negatives is not None:
        wrong, wrong_ids, wrong_text_ids = negatives
        texts = text_ids, wrong_text_ids
        to_captions = with_negatives(to_captions, images, scale, group_ids, wrong, wrong_ids, texts=texts)
    if memory is not None:
        past_images, past_captions, past_ids = memory
        texts = text_ids, memory_text_ids
        to_captions = with_memory(to_captions, images, scale, group_ids, past_captions, past_ids, texts=texts)
        texts = caption_texts, memory_text_ids
        to_images = with_memory(to_images, captions, scale, caption_ids, past_images, past_ids, texts=texts)
    # As similarity is linear, sums over a group's captions are all that either direction needs of its positives.
    sums, num_captions = sums_by_id(all_captions, all_caption_ids, group_ids)
    num_images = count_by_id(of_images.gather(group_ids), group_ids)
    of_group = scale * (images * sums).sum(dim=1)
    from_images = (to_captions - of_group / num_captions).sum() / max(of_images.total, 1)
    from_captions = (to_images.sum() - (of_group / num_images).sum()) / max(of_captions.total, 1)
    return (from_images + from_captions) / 2
