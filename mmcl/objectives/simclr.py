"""SimCLR: NT-Xent between random views (arXiv:2002.05709)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn import functional as F

from mmcl.losses.nt_xent import nt_xent_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.memory import EmbeddingMemory
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput, Progress

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.views import SimCLRConfig


class SimCLRObjective(Objective):
    """NT-Xent over the views of all processes, behind a projection head of its own."""

    def __init__(self, config: SimCLRConfig, model: TwoTower) -> None:
        super().__init__()
        self.views, self.temperature = config.views, config.temperature
        self.projector = Projector(config.head, model, config.views)
        dim = self.projector.output_dim
        self.memory = EmbeddingMemory(config.memory, dim) if config.memory else None

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        views = [F.normalize(self.projector(view), dim=-1) for view in rows.views]
        memory, num_keys = None, len(views) * rows.across.total - 1
        if self.memory is not None:
            past, group_ids = self.memory.filled()
            memory = (past[0], group_ids)
            num_keys += len(group_ids)
            self.memory.stage(views[:1], rows.group_ids, rows.across)
        loss = nt_xent_loss(views, self.temperature, rows.group_ids, across=rows.across, memory=memory)
        return ObjectiveOutput(loss, math.log(num_keys), rows.across.total)

    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        if self.memory is not None:
            self.memory.commit()
