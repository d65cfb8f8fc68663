"""CLIP: symmetric InfoNCE between two views (arXiv:2103.00020, figure 3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmcl.losses.clip import clip_loss
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.objectives.configs.cross_modal import CLIPConfig


class CLIPObjective(ObjectiveWithMemory):
    """Both directions of InfoNCE over the pairs of all processes, with the model's own temperature."""

    def __init__(self, config: CLIPConfig, embedding_dim: int) -> None:
        super().__init__(config.memory, embedding_dim, num_sets=2)
        self.views = config.views

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        first, second = (view.embeddings for view in rows.views)
        if rows.across.total < 2:
            return self.nothing(rows, first, second, encoded.scale)
        loss = clip_loss(first, second, encoded.scale, rows.group_ids, across=rows.across, memory=self.past_pairs())
        self.remember((first, second), rows.group_ids, rows.across)
        return ObjectiveOutput(loss, math.log(rows.across.total + self.num_past), rows.across.total)
