"""MoCo v1 and v2: a momentum encoder's keys, and a queue of those of past steps (arXiv:1911.05722, 2003.04297)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.moco import moco_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.memory import EmbeddingMemory
from mmcl.objectives.momentum_encoder import MomentumEncoder
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput, Progress, Selected
from mmcl.objectives.views import num_texts
from mmcl.schedules import value_at

if TYPE_CHECKING:
    from mmcl.batch import PairBatch
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.momentum import MoCoConfig


class MoCoObjective(Objective):
    """Each query looks for its own key among the K of the queue, which are older than this step's.

    The queue starts with random unit vectors of no group, so that there are K keys from the first step on. The twin
    moves after each update, which is before its next forward, as the paper has it; at the first step it equals the
    online encoder.
    """

    def __init__(self, config: MoCoConfig, model: TwoTower) -> None:
        super().__init__()
        self.views, self.query_views, self.temperature = config.views, config.encoded_views, config.temperature
        self.key_views = config.views[::-1][: len(self.query_views)]
        self.momentum = config.momentum
        self.projector = Projector(config.head, model, config.views)
        self.twin = MomentumEncoder(model, self.projector, self.key_views, config.buffers)
        dim = self.projector.output_dim
        self.queue = EmbeddingMemory(config.queue_size, dim, num_texts=num_texts(config.views))
        self.queue.fill_with(F.normalize(torch.randn(1, config.queue_size, dim), dim=-1))
        self._staged: tuple[Tensor, Tensor, Tensor | None] | None = None

    def encode_keys(self, model: TwoTower, batch: PairBatch) -> tuple[Tensor, ...]:
        return tuple(self.twin.encode(model, batch, view) for view in self.key_views)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views, self.query_views)
        self._staged = None
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        queries = [F.normalize(self.projector(view), dim=-1) for view in rows.views]
        keys = self._keys(encoded, rows)
        (past,), past_ids = self.queue.filled()
        texts = encoded.text_ids(self.views, rows)
        of_texts = {"text_ids": texts, "queue_text_ids": self.queue.filled_text_ids()}
        losses = [
            moco_loss(query, key, past, self.temperature, rows.group_ids, past_ids, **of_texts, across=rows.across)
            for query, key in zip(queries, keys, strict=True)
        ]
        group_ids = rows.across.gather(rows.group_ids).repeat(len(keys))
        texts = None if texts is None else rows.across.gather(texts).repeat(len(keys), 1)
        self._staged = (torch.cat([rows.across.gather(key) for key in keys]), group_ids, texts)
        return ObjectiveOutput(torch.stack(losses).mean(), math.log(len(past_ids) + 1), rows.across.total)

    def _keys(self, encoded: EncodedBatch, rows: Selected) -> list[Tensor]:
        keys = zip(encoded.keys[self.name], self.key_views, strict=True)
        taken = [encoded.take_keys(key, view, rows.rows) for key, view in keys]
        return [F.normalize(self.twin.project(key), dim=-1) for key in taken]

    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        """Move the twin with the momentum of the step to come, before whose forward this is; let the keys in."""
        self.twin.update(model, self.projector, value_at(self.momentum, progress.step + 1, progress.num_steps))
        if self._staged is not None:
            rows, group_ids, text_ids = self._staged
            self.queue.push(rows[None], group_ids, text_ids=text_ids)
        self._staged = None
