"""Hard negatives: texts that are nobody's positive, and the groups in which they are not negatives either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from mmcl.distributed import RowSizes
from mmcl.objectives.memory import NO_GROUP

if TYPE_CHECKING:
    from mmcl.objectives.objective import EncodedBatch, Selected


HardNegatives: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
"""``(Q, D)`` unit-norm embeddings with a gradient, ``(Q,)`` int64 group ids, `NO_GROUP` for what is no caption, and
``(Q, 1)`` int64 text ids, None where no two texts count as equal; of all processes, the same on every one."""


def gather_hard_negatives(encoded: EncodedBatch, rows: Selected, text_view: str, views: Sequence[str]) -> HardNegatives:
    """Collect the hard negatives of the selected rows of all processes, which all have to call this.

    What is mined for one row is often the caption of another, and would contradict it where both are in a batch. So a
    hard negative whose text is a caption of the batch belongs to the group of that caption.

    Args:
        encoded: the batch.
        rows: the selected ones.
        text_view: of their captions.
        views: of their hard negatives.
    """
    found = [encoded.texts_of(view, rows) for view in views]
    captions = encoded.texts_of(text_view, rows)
    embeddings = torch.cat([texts.embeddings for texts in found])
    across = RowSizes.of(len(embeddings), embeddings.device)
    ids = [texts.text_ids for texts in found if texts.text_ids is not None]
    if not ids or captions.text_ids is None:
        nothing = torch.full((across.total,), NO_GROUP, device=embeddings.device)
        return across.gather(embeddings), nothing, None
    known, groups = (captions.across.gather(some) for some in (captions.text_ids, captions.group_ids))
    names = across.gather(torch.cat(ids))
    return across.gather(embeddings), _groups_of(names, known, groups), names[:, None]


def _groups_of(names: Tensor, captions: Tensor, groups: Tensor) -> Tensor:
    """Return for each text id the group of a caption of that id, `NO_GROUP` where there is none."""
    captions, order = captions.sort()
    place = torch.searchsorted(captions, names).clamp(max=len(captions) - 1)
    return torch.where(captions[place] == names, groups[order[place]], NO_GROUP)
