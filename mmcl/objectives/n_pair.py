"""Multi-class N-pair (Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective")."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmcl.losses.n_pair import n_pair_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.views import NPairConfig


class NPairObjective(ObjectiveWithMemory):
    """Each anchor against the positives of all processes, by their unnormalised products.

    The chance level is the loss of a model whose products are all 0.
    """

    def __init__(self, config: NPairConfig, model: TwoTower) -> None:
        projector = Projector(config.head, model, config.views)
        super().__init__(config.memory, projector.output_dim, config.views)
        self.views, self.l2, self.projector = config.views, config.l2, projector

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        anchors, positives = map(self.projector, rows.views)
        text_ids = encoded.text_ids(self.views, rows)
        loss = n_pair_loss(
            anchors,
            positives,
            self.l2,
            rows.group_ids,
            text_ids=text_ids,
            across=rows.across,
            memory=self.past(),
            memory_text_ids=self.past_text_ids(),
        )
        self.remember([positives], rows.group_ids, rows.across, text_ids=text_ids)
        return ObjectiveOutput(loss, math.log(rows.across.total + self.num_past), rows.across.total)
