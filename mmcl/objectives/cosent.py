"""CoSENT (Huang et al., TASLP 2024, doi:10.1109/TASLP.2024.3402087)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn import functional as F

from mmcl.losses.cosent import cosent_loss, num_below
from mmcl.objectives.heads import Projector
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.graded import CoSENTConfig


class CoSENTObjective(Objective):
    """The cosines of the pairs of all processes in the order of their scores.

    The chance level is the loss of a model whose cosines are all equal.
    """

    def __init__(self, config: CoSENTConfig, model: TwoTower) -> None:
        super().__init__()
        self.views, self.temperature = config.views, config.temperature
        self.projector = Projector(config.head, model, config.views)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        rows = rows.at(rows.scores.isfinite().nonzero()[:, 0])
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        first, second = (F.normalize(self.projector(view), dim=-1) for view in rows.views)
        loss = cosent_loss(first, second, rows.scores, self.temperature, across=rows.across)
        num_ordered = int(num_below(rows.across.gather(rows.scores).sort().values).sum())
        return ObjectiveOutput(loss, math.log1p(num_ordered), rows.across.total)
