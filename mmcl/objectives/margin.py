"""Pairwise contrastive learning with a margin (Hadsell, Chopra and LeCun 2006)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmcl.losses.margin import batch_margin_loss
from mmcl.objectives.mined import MinedObjective

if TYPE_CHECKING:
    from mmcl.distributed import RowSizes


class MarginObjective(MinedObjective):
    """The contrastive loss of pairs: similar ones are pulled together, others pushed beyond the margin.

    Its chance level depends on how many pairs of the batch are similar, and none is given.
    """

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
        return batch_margin_loss(
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
