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
        num_sets, uses_labels = 2 if is_cross_modal else 1, config.positives == "labels"
        super().__init__(config.memory, projector.output_dim, num_sets, has_labels=uses_labels)
        self.config, self.views, self.projector = config, config.views, projector
        self.is_cross_modal, self.uses_labels = is_cross_modal, uses_labels

    @abstractmethod
    def loss_of(
        self,
        anchors: Tensor,
        ids: Tensor,
        candidates: Tensor | None,
        candidate_ids: Tensor | None,
        across: RowSizes,
        memory: tuple[Tensor, Tensor] | None,
        memory_group_ids: Tensor | None,
        group_ids: Tensor | None,
    ) -> Tensor:
        """Return this process's share of the loss of anchors against candidates, by default the anchors themselves.

        Rows of equal id are positives of each other. Group ids are given where ids are labels.
        """

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
        # Where ids are labels, rows of one group may differ in them, and are no negatives of each other all the same.
        ids, groups = (rows.labels, rows.group_ids) if self.uses_labels else (rows.group_ids, None)
        views = [self._embed(view) for view in map(self.projector, rows.views)]
        if self.is_cross_modal:
            first, second = views
            to_second = self.loss_of(first, ids, second, ids, rows.across, *self._past(1), groups)
            to_first = self.loss_of(second, ids, first, ids, rows.across, *self._past(0), groups)
            loss = (to_first + to_second) / 2
            self.remember(views, rows.group_ids, rows.across, rows.labels)
        else:
            # Each process's rows of all views follow each other, so that it holds so many times as many rows.
            across = RowSizes(tuple(len(views) * size for size in rows.across.sizes))
            count = len(views)
            groups = None if groups is None else groups.repeat(count)
            loss = self.loss_of(torch.cat(views), ids.repeat(count), None, None, across, *self._past(0), groups)
            self.remember(views[:1], rows.group_ids, rows.across, rows.labels)
        return ObjectiveOutput(loss, self.chance, rows.across.total)

    def _past(self, number: int) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
        """Return set ``number`` of the memory with its ids, and its group ids where those are labels."""
        return self.past_with_labels(number) if self.uses_labels else (self.past(number), None)

    def _embed(self, projected: Tensor) -> Tensor:
        return F.normalize(projected, dim=-1) if self.config.normalise else projected
