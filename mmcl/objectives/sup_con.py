"""Supervised and semi-supervised contrastive learning (arXiv:2004.11362)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn import functional as F

from mmcl.losses.sup_con import sup_con_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.labelled import labelled
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.labels import SupConConfig


class SupConObjective(ObjectiveWithMemory):
    """Rows of one class attract each other over the views of all processes, behind a projection head of its own."""

    def __init__(self, config: SupConConfig, model: TwoTower) -> None:
        projector = Projector(config.head, model, config.views)
        super().__init__(config.memory, projector.output_dim, config.views, has_labels=True)
        self.views, self.temperature, self.form = config.views, config.temperature, config.form
        self.leaves_out = config.unlabelled == "left_out"
        self.projector = projector

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if self.leaves_out:
            rows = labelled(rows)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        views = [F.normalize(self.projector(view), dim=-1) for view in rows.views]
        past, past_groups = self.past_with_labels()
        loss = sup_con_loss(
            views,
            rows.labels,
            self.temperature,
            rows.group_ids,
            form=self.form,
            text_ids=encoded.text_ids(self.views, rows),
            across=rows.across,
            memory=past,
            memory_group_ids=past_groups,
            memory_text_ids=self.past_text_ids(),
        )
        if self.memory is not None:
            # Only labelled rows can be positives of what is to come.
            known = rows if self.leaves_out else labelled(rows)
            text_ids = encoded.text_ids(self.views, known)
            self.remember([views[0][rows.labels >= 0]], known.group_ids, known.across, known.labels, text_ids)
        num_keys = len(views) * rows.across.total - 1 + self.num_past
        # Of one view, an anchor may have no positive and count as 0: chance depends on how many do.
        chance = math.log(num_keys) if len(views) > 1 else None
        return ObjectiveOutput(loss, chance, rows.across.total)
