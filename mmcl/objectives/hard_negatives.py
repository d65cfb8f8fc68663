"""Hard negatives: texts that are nobody's positive, and the groups in which they are not negatives either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmcl.distributed import RowSizes
from mmcl.objectives.memory import NO_GROUP
from mmcl.objectives.views import number_of

if TYPE_CHECKING:
    from mmcl.batch import TokenBatch
    from mmcl.objectives.objective import EncodedBatch, Selected, Texts

# The multiplier of Knuth's 64-bit generator; its powers tell positions apart.
_FACTOR = 6364136223846793005


def gather_hard_negatives(
    encoded: EncodedBatch, rows: Selected, text_view: str, views: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Collect the hard negatives of the selected rows of all processes, which all have to call this.

    What is mined for one row is often the caption of another, and would contradict it where both are in a batch. So a
    hard negative that is, token by token, a caption of the batch belongs to the group of that caption.

    Args:
        encoded: the batch.
        rows: the selected ones.
        text_view: of their captions.
        views: of their hard negatives.

    Returns:
        ``(Q, D)`` unit-norm embeddings with a gradient and ``(Q,)`` int64 group ids, the same on every process;
        `NO_GROUP` for what is no caption.
    """
    found = [encoded.texts_of(view, rows) for view in views]
    captions = encoded.texts_of(text_view, rows)
    embeddings = torch.cat([texts.embeddings for texts in found])
    names = torch.cat([_names_of(encoded, view, texts) for view, texts in zip(views, found, strict=True)])
    across = RowSizes.of(len(names), names.device)
    known = captions.across.gather(_names_of(encoded, text_view, captions))
    groups = captions.across.gather(captions.group_ids)
    return across.gather(embeddings), _groups_of(across.gather(names), known, groups)


def _names_of(encoded: EncodedBatch, view: str, texts: Texts) -> Tensor:
    return token_names(encoded.batch.texts[number_of(view)])[texts.places]


def token_names(texts: TokenBatch) -> Tensor:
    """Return ``(m,)`` int64, equal for texts of the same tokens, however long and on which side they are padded."""
    mask = texts.attention_mask
    factors = mask.new_full((mask.shape[1],), _FACTOR).cumprod(dim=0)  # integers wrap around, which does no harm
    return (mask * (texts.input_ids + 1) * factors[(mask.cumsum(dim=1) - 1).clamp(min=0)]).sum(dim=1)


def _groups_of(names: Tensor, captions: Tensor, groups: Tensor) -> Tensor:
    """Return for each name the group of a caption of that name, `NO_GROUP` where there is none."""
    captions, order = captions.sort()
    place = torch.searchsorted(captions, names).clamp(max=len(captions) - 1)
    return torch.where(captions[place] == names, groups[order[place]], NO_GROUP)
