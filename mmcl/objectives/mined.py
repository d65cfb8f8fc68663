"""The base of triplet and margin: pairs and triplets formed within the batch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.distributed import RowSizes
from mmcl.objectives.heads import Projector
from mmcl.objectives.labelled import labelled
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput
from mmcl.objectives.views import modality_of
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.labels import MinedConfig


class MinedObjective(ObjectiveWithMemory):
    """Anchors against candidates of all processes, and of past steps where there is a memory.

    Views of one modality are thrown together: every row of every view is an anchor, and a candidate for all others. Of
    a picture and a text, pictures are the anchors of texts and texts of pictures; the loss is the mean of both.

    Args:
        config: its fields.
        model: whose embeddings are compared.
    """

    def __init__(self, config: MinedConfig, model: TwoTower) -> None:
        projector = Projector(config.head, model, config.views)
        is_cross_modal = len({modality_of(view) for view in config.views}) == 2
        super().__init__(config.memory, projector.output_dim, num_sets=2 if is_cross_modal else 1)
        self.config, self.views, self.projector = config, config.views, projector
        self.is_cross_modal, self.uses_labels = is_cross_modal, config.positives == "labels"

    @abstractmethod
    def loss_of(
        self,
        anchors: Tensor,
        ids: Tensor,
        candidates: Tensor | None,
        candidate_ids: Tensor | None,
        across: RowSizes,
        memory: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Return this process's share of the loss of anchors against candidates, by default the anchors themselves."""

    @property
    def chance(self) -> float | None:
        """The loss of a model that knows nothing; None where there is no such number."""
        return None

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if self.uses_labels:
            rows = labelled(rows)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        ids = rows.labels if self.uses_labels else rows.group_ids
        views = [self._embed(view) for view in map(self.projector, rows.views)]
        if self.is_cross_modal:
            first, second = views
            to_second = self.loss_of(first, ids, second, ids, rows.across, self.past(1))
            to_first = self.loss_of(second, ids, first, ids, rows.across, self.past(0))
            loss = (to_first + to_second) / 2
            self.remember(views, ids, rows.across)
        else:
            # Each process's rows of all views follow each other, so that it holds so many times as many rows.
            across = RowSizes(tuple(len(views) * size for size in rows.across.sizes))
            loss = self.loss_of(torch.cat(views), ids.repeat(len(views)), None, None, across, self.past())
            self.remember(views[:1], ids, rows.across)
        return ObjectiveOutput(loss, self.chance, rows.across.total)

    def _embed(self, projected: Tensor) -> Tensor:
        return F.normalize(projected, dim=-1) if self.config.normalise else projected
