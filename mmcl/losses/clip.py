"""The CLIP loss: InfoNCE from pictures to texts and from texts to pictures (arXiv:2103.00020, figure 3)."""

from __future__ import annotations

from torch import Tensor

from mmcl.losses.info_nce import info_nce


def clip_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor | float,
    group_ids: Tensor,
    all_images: Tensor | None = None,
    all_texts: Tensor | None = None,
    all_group_ids: Tensor | None = None,
) -> Tensor:
    """Mean of the two directions of InfoNCE, in which rows of equal group are positives of each other.

    Args:
        images: ``(n, D)`` unit norm; the rows whose losses are added up.
        texts: ``(n, D)`` unit norm, the text of each row.
        scale: 1 / temperature, a scalar.
        group_ids: ``(n,)`` int64; give every row an id of its own for the plain CLIP loss.
        all_images: ``(N, D)``, the pictures of every process, these rows among them; by default ``images``.
        all_texts: ``(N, D)``, likewise.
        all_group_ids: ``(N,)``, likewise.

    Returns:
        A scalar: the sum of both directions over the ``n`` rows, divided by ``2 N``. Without the ``all_`` arguments
        that is the mean; with them it is these rows' share of it.
    """
    all_images = images if all_images is None else all_images
    all_texts = texts if all_texts is None else all_texts
    all_group_ids = group_ids if all_group_ids is None else all_group_ids
    positives = group_ids[:, None] == all_group_ids[None, :]
    to_texts = info_nce(images, all_texts, scale, positives)
    to_images = info_nce(texts, all_images, scale, positives)
    return (to_texts.sum() + to_images.sum()) / (2 * len(all_images))
