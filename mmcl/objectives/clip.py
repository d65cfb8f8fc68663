"""CLIP: symmetric InfoNCE between two views (arXiv:2103.00020, figure 3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmcl.losses.clip import clip_loss
from mmcl.objectives.hard_negatives import gather_hard_negatives
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.objectives.configs.cross_modal import CLIPConfig


class CLIPObjective(ObjectiveWithMemory):
    """Both directions of InfoNCE over the pairs of all processes, with the model's own temperature."""

    def __init__(self, config: CLIPConfig, embedding_dim: int) -> None:
        super().__init__(config.memory, embedding_dim, num_sets=2)
        self.views, self.negative_views = config.views, config.optional_views

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        first, second = (view.embeddings for view in rows.views)
        if rows.across.total < 2:
            return self.nothing(rows, first, second, encoded.scale)
        negatives = None
        if self.negative_views:
            negatives = gather_hard_negatives(encoded, rows, self.views[1], self.negative_views)
        loss = clip_loss(
            first,
            second,
            encoded.scale,
            rows.group_ids,
            across=rows.across,
            memory=self.past_pairs(),
            negatives=negatives,
        )
        self.remember((first, second), rows.group_ids, rows.across)
        num_texts = rows.across.total + self.num_past
        num_compared = num_texts + (0 if negatives is None else len(negatives[0]))
        # Pictures are compared with the hard negatives too, texts with pictures alone.
        return ObjectiveOutput(loss, (math.log(num_compared) + math.log(num_texts)) / 2, rows.across.total)
