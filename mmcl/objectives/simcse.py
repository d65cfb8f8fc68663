"""SimCSE, unsupervised and supervised (arXiv:2104.08821)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from mmcl.losses.simcse import simcse_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.views import SimCSEConfig, SupervisedSimCSEConfig


class SimCSEObjective(ObjectiveWithMemory):
    """Each first pass looks for its second among those of all processes; the head is for training only."""

    def __init__(self, config: SimCSEConfig, model: TwoTower) -> None:
        projector = Projector(config.head, model, config.views)
        super().__init__(config.memory, projector.output_dim, config.views)
        self.views, self.temperature, self.projector = config.views, config.temperature, projector

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        first, second = (F.normalize(self.projector(view), dim=-1) for view in rows.views)
        text_ids = encoded.text_ids(self.views, rows)
        loss = simcse_loss(
            first,
            second,
            temperature=self.temperature,
            group_ids=rows.group_ids,
            text_ids=text_ids,
            across=rows.across,
            memory=self.past(),
            memory_text_ids=self.past_text_ids(),
        )
        self.remember([second], rows.group_ids, rows.across, text_ids=text_ids)
        return ObjectiveOutput(loss, math.log(rows.across.total + self.num_past), rows.across.total)


class SupervisedSimCSEObjective(ObjectiveWithMemory):
    """Each anchor looks for its positive among the positives and the hard negatives of all processes; where it is
    symmetric, each positive for its anchor among the anchors too.

    There is no head here: a head that stays at test time is part of the model, to which the config adds it.

    Args:
        config: its fields.
        model: whose embeddings are compared.
    """

    def __init__(self, config: SupervisedSimCSEConfig, model: TwoTower) -> None:
        views = config.views[:2]
        super().__init__(config.memory, model.embedding_dim, views, num_sets=2 if config.symmetric else 1)
        self.views, self.temperature, self.is_symmetric = config.views, config.temperature, config.symmetric
        self.hard_negative_weight = config.hard_negative_weight

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        anchors, positives, *others = (view.embeddings for view in rows.views)
        if rows.across.total < 2:
            return self.nothing(rows, anchors, positives, *others)
        text_ids = encoded.text_ids(self.views[:2], rows)
        of_negatives = (encoded.text_ids([view], rows) for view in self.views[2:])
        known = [ids for ids in of_negatives if ids is not None]
        loss = simcse_loss(
            anchors,
            positives,
            torch.stack(others, dim=1) if others else None,
            self.temperature,
            rows.group_ids,
            hard_negative_weight=self.hard_negative_weight,
            text_ids=text_ids,
            negative_text_ids=torch.cat(known, dim=1) if known and len(known) == len(others) else None,
            across=rows.across,
            memory=self.past(),
            memory_text_ids=self.past_text_ids(),
        )
        # At equal cosines an own hard negative counts as much as its weight, and everything else as 1.
        total = rows.across.total
        chance = math.log(total + self.num_past + len(others) * (total - 1 + self.hard_negative_weight))
        if self.is_symmetric:
            back = simcse_loss(
                positives,
                anchors,
                None,
                self.temperature,
                rows.group_ids,
                text_ids=text_ids,
                across=rows.across,
                memory=self.past(1),
                memory_text_ids=self.past_text_ids(),
            )
            loss, chance = (loss + back) / 2, (chance + math.log(total + self.num_past)) / 2
        sets = [positives, anchors] if self.is_symmetric else [positives]
        self.remember(sets, rows.group_ids, rows.across, text_ids=text_ids)
        return ObjectiveOutput(loss, chance, total)
