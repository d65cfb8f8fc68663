"""InfoNCE in one direction (arXiv:1807.03748)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn import functional as F

from mmcl.losses.info_nce import info_nce_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.cross_modal import InfoNCEConfig


class InfoNCEObjective(ObjectiveWithMemory):
    """Rows of the first view look for their own among the rows of the second, of all processes and past steps."""

    def __init__(self, config: InfoNCEConfig, model: TwoTower) -> None:
        projector = Projector(config.head, model, config.views)
        super().__init__(config.memory, projector.output_dim, config.views)
        self.views, self.scale, self.similarity = config.views, 1 / config.temperature, config.similarity
        self.projector = projector

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        queries, keys = map(self.projector, rows.views)
        if self.similarity == "cosine":
            # Here, so that the memory, which keeps the keys, holds unit vectors.
            queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
        text_ids = encoded.text_ids(self.views, rows)
        loss = info_nce_loss(
            queries,
            keys,
            self.scale,
            rows.group_ids,
            similarity=self.similarity,
            text_ids=text_ids,
            across=rows.across,
            memory=self.past(),
            memory_text_ids=self.past_text_ids(),
        )
        self.remember([keys], rows.group_ids, rows.across, text_ids=text_ids)
        return ObjectiveOutput(loss, math.log(rows.across.total + self.num_past), rows.across.total)
