"""SwAV: predict one crop's assignment to prototypes from the other crops (arXiv:2006.09882)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmcl import distributed
from mmcl.distributed import RowSizes
from mmcl.losses.sinkhorn import sinkhorn
from mmcl.losses.swav import swav_loss
from mmcl.objectives.heads import Projector
from mmcl.objectives.memory import EmbeddingMemory
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput, Progress

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.clustering import SwAVConfig

NUM_CODE_VIEWS = 2
"""Codes come from the two global crops alone."""


class SwAVObjective(Objective):
    """Swapped prediction of balanced codes; Sinkhorn runs over the rows of all processes, and the queue's.

    Prototypes have unit norm from the start and are normalised after each update, which is before their next use.

    Args:
        config: of the objective.
        model: whose views they are.
        num_prototypes: K.
    """

    def __init__(self, config: SwAVConfig, model: TwoTower, num_prototypes: int) -> None:
        super().__init__()
        self.config, self.views = config, config.views
        self.projector = Projector(config.head, model, config.views)
        dim = self.projector.output_dim
        self.prototypes = nn.Parameter(F.normalize(torch.randn(num_prototypes, dim), dim=-1))
        self.queue = EmbeddingMemory(config.queue_size, dim, NUM_CODE_VIEWS) if config.queue_size else None
        self._frozen: Tensor | None = None

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        prototypes = self._prototypes_at(encoded.progress)
        if self.queue is not None:
            self.queue.forget()
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        embeddings = [F.normalize(self.projector(view), dim=-1) for view in rows.views]
        scores = [view @ prototypes.T for view in embeddings]
        codes = self._codes(scores[:NUM_CODE_VIEWS], rows.across)
        if self.queue is not None and self.config.queue_is_open(encoded.progress):
            self.queue.stage(embeddings[:NUM_CODE_VIEWS], rows.group_ids, rows.across)
        loss = swav_loss(scores, codes, self.config.temperature, across=rows.across)
        return ObjectiveOutput(loss, math.log(len(prototypes)), rows.across.total)

    def _prototypes_at(self, progress: Progress) -> Tensor:
        """Return the prototypes; frozen ones have a gradient all the same, of 0, as DistributedDataParallel wants."""
        self._frozen = None
        if not self.config.prototypes_are_frozen(progress):
            return self.prototypes
        self._frozen = self.prototypes.detach().clone()
        return self._frozen + 0 * self.prototypes

    @torch.no_grad()
    def _codes(self, scores: Sequence[Tensor], across: RowSizes) -> list[Tensor]:
        """Return the code of each row of each global crop.

        A full queue's rows take part in the balance, as the present prototypes see them; every process holds all of
        them and brings in a part.
        """
        past: Sequence[Tensor] = [view[:0] for view in scores]
        if self.queue is not None and self.queue.num_filled == self.queue.size:
            mine = torch.tensor_split(self.queue.filled()[0], distributed.world_size(), dim=1)[distributed.rank()]
            past = [view @ self.prototypes.T for view in mine]
        epsilon, num_iterations = self.config.epsilon, self.config.num_iterations
        return [
            sinkhorn(torch.cat([old, new]), epsilon, num_iterations, across=across)[len(old) :]
            for old, new in zip(past, scores, strict=True)
        ]

    @torch.no_grad()
    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        """Put frozen prototypes back, which weight decay or momentum may have moved, and normalise the others."""
        if self._frozen is not None:
            self.prototypes.copy_(self._frozen)
        else:
            self.prototypes.copy_(F.normalize(self.prototypes, dim=-1))
        self._frozen = None
        if self.queue is not None:
            self.queue.commit()
