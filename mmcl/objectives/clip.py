"""CLIP: symmetric InfoNCE between two views (arXiv:2103.00020, figure 3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmcl.losses.clip import clip_loss
from mmcl.objectives.memory import EmbeddingMemory
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput, Progress

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.cross_modal import CLIPConfig


class CLIPObjective(Objective):
    """Both directions of InfoNCE over the pairs of all processes, with the model's own temperature."""

    def __init__(self, config: CLIPConfig, embedding_dim: int) -> None:
        super().__init__()
        self.views = config.views
        self.memory = EmbeddingMemory(config.memory, embedding_dim, num_sets=2) if config.memory else None

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        first, second = (view.embeddings for view in rows.views)
        if rows.across.total < 2:
            return self.nothing(rows, first, second, encoded.scale)
        memory, num_keys = None, rows.across.total
        if self.memory is not None:
            (past_first, past_second), group_ids = self.memory.filled()
            memory = (past_first, past_second, group_ids)
            num_keys += len(group_ids)
            self.memory.stage((first, second), rows.group_ids, rows.across)
        loss = clip_loss(first, second, encoded.scale, rows.group_ids, across=rows.across, memory=memory)
        return ObjectiveOutput(loss, math.log(num_keys), rows.across.total)

    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        if self.memory is not None:
            self.memory.commit()
