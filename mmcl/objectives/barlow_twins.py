"""Barlow Twins: make two views' cross-correlation the identity (arXiv:2103.03230)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.losses.barlow_twins import barlow_twins_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.correlation import BarlowTwinsConfig


class BarlowTwinsObjective(Objective):
    """Correlations over the rows of all processes. There are no negatives, and no chance level."""

    def __init__(self, config: BarlowTwinsConfig, model: TwoTower) -> None:
        super().__init__()
        self.views = config.views
        self.off_diagonal_weight, self.loss_scale = config.off_diagonal_weight, config.loss_scale
        self.projector = Projector(config.head, model, config.views)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        first, second = (self.projector(view) for view in rows.views)
        loss = barlow_twins_loss(
            first, second, self.off_diagonal_weight, loss_scale=self.loss_scale, across=rows.across
        )
        return ObjectiveOutput(loss, None, rows.across.total)
