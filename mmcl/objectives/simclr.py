"""SimCLR: NT-Xent between random views (arXiv:2002.05709)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn import functional as F

from mmcl.losses.nt_xent import nt_xent_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.views import SimCLRConfig


class SimCLRObjective(ObjectiveWithMemory):
    """NT-Xent over the views of all processes, behind a projection head of its own."""

    def __init__(self, config: SimCLRConfig, model: TwoTower) -> None:
        projector = Projector(config.head, model, config.views)
        super().__init__(config.memory, projector.output_dim, config.views)
        self.views, self.temperature, self.projector = config.views, config.temperature, projector

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        views = [F.normalize(self.projector(view), dim=-1) for view in rows.views]
        text_ids = encoded.text_ids(self.views, rows)
        loss = nt_xent_loss(
            views,
            self.temperature,
            rows.group_ids,
            text_ids=text_ids,
            across=rows.across,
            memory=self.past(),
            memory_text_ids=self.past_text_ids(),
        )
        self.remember(views[:1], rows.group_ids, rows.across, text_ids=text_ids)
        num_keys = len(views) * rows.across.total - 1 + self.num_past
        return ObjectiveOutput(loss, math.log(num_keys), rows.across.total)
