"""MoCo v3: a momentum encoder and a predictor, without a queue (arXiv:2104.02057)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.info_nce import info_nce_loss
from mmcl.objectives.heads import Projector, build_head
from mmcl.objectives.momentum_encoder import MomentumEncoder
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput, Progress
from mmcl.schedules import value_at

if TYPE_CHECKING:
    from mmcl.batch import PairBatch
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.momentum import MoCoV3Config


class MoCoV3Objective(Objective):
    """``2 T [ctr(q1, k2) + ctr(q2, k1)]``, ctr being InfoNCE with the keys of all processes (algorithm 1)."""

    def __init__(self, config: MoCoV3Config, model: TwoTower) -> None:
        super().__init__()
        self.views, self.temperature, self.momentum = config.views, config.temperature, config.momentum
        self.projector = Projector(config.head, model, config.views)
        self.predictor = build_head(config.predictor, self.projector.output_dim)
        self.twin = MomentumEncoder(model, self.projector, config.views, config.buffers)

    def encode_keys(self, model: TwoTower, batch: PairBatch) -> tuple[Tensor, ...]:
        return tuple(self.twin.encode(model, batch, view) for view in self.views)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        queries = [F.normalize(self.predictor(self.projector(view)), dim=-1) for view in rows.views]
        keys = [
            F.normalize(self.twin.project(encoded.take_keys(key, view, rows.rows)), dim=-1)
            for key, view in zip(encoded.keys[self.name], self.views, strict=True)
        ]
        texts = encoded.text_ids(self.views, rows)
        losses = [
            info_nce_loss(query, key, 1 / self.temperature, rows.group_ids, text_ids=texts, across=rows.across)
            for query, key in zip(queries, reversed(keys), strict=True)
        ]
        factor, num_rows = 2 * self.temperature, rows.across.total
        return ObjectiveOutput(factor * torch.stack(losses).sum(), 2 * factor * math.log(num_rows), num_rows)

    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        """Move the twin with the momentum of the step to come, before whose forward this is."""
        self.twin.update(model, self.projector, value_at(self.momentum, progress.step + 1, progress.num_steps))
