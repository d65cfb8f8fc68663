"""Triplets of anchor, positive and negative, mined within the batch (arXiv:1503.03832)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmcl.losses.triplet import batch_triplet_loss
from mmcl.objectives.mined import MinedObjective

if TYPE_CHECKING:
    from mmcl.distributed import RowSizes


class TripletObjective(MinedObjective):
    """The triplet loss.

    A model that knows nothing has all distances equal, and a loss of the margin; of semi-hard triplets it has none.
    """

    @property
    def chance(self) -> float | None:
        return None if self.config.mining == "semi_hard" else self.config.margin

    def loss_of(
        self,
        anchors: Tensor,
        ids: Tensor,
        candidates: Tensor | None,
        candidate_ids: Tensor | None,
        across: RowSizes,
        memory: tuple[Tensor, Tensor] | None,
        memory_group_ids: Tensor | None,
        group_ids: Tensor | None,
    ) -> Tensor:
        config = self.config
        return batch_triplet_loss(
            anchors,
            ids,
            candidates,
            candidate_ids,
            config.margin,
            config.distance,
            mining=config.mining,
            across=across,
            memory=memory,
            group_ids=group_ids,
            memory_group_ids=memory_group_ids,
        )
