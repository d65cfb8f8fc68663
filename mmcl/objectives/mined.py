"""The base of triplet and margin: pairs and triplets formed within the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

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

    batch_loss: ClassVar[Callable[..., Tensor]]
    """Of rows against candidates; rows of equal id are positives of each other."""

    def __init__(self, config: MinedConfig, model: TwoTower) -> None:
        projector = Projector(config.head, model, config.views)
        is_cross_modal = len({modality_of(view) for view in config.views}) == 2
        num_sets, uses_labels = 2 if is_cross_modal else 1, config.positives == "labels"
        super().__init__(config.memory, projector.output_dim, config.views, num_sets, has_labels=uses_labels)
        self.config, self.views, self.projector = config, config.views, projector
        self.is_cross_modal, self.uses_labels = is_cross_modal, uses_labels

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
        texts = encoded.text_ids(self.views, rows)
        views = [self._embed(view) for view in map(self.projector, rows.views)]
        if self.is_cross_modal:
            first, second = views
            to_second = self._loss(first, second, ids, groups, texts, rows.across, past=1)
            to_first = self._loss(second, first, ids, groups, texts, rows.across, past=0)
            loss = (to_first + to_second) / 2
            self.remember(views, rows.group_ids, rows.across, rows.labels, texts)
        else:
            # Each process's rows of all views follow each other, so that it holds so many times as many rows.
            across = RowSizes(tuple(len(views) * size for size in rows.across.sizes))
            count = len(views)
            groups = None if groups is None else groups.repeat(count)
            of_views = None if texts is None else texts.repeat(count, 1)
            loss = self._loss(torch.cat(views), None, ids.repeat(count), groups, of_views, across, past=0)
            self.remember(views[:1], rows.group_ids, rows.across, rows.labels, texts)
        return ObjectiveOutput(loss, self.chance, rows.across.total)

    def _loss(
        self,
        anchors: Tensor,
        candidates: Tensor | None,
        ids: Tensor,
        groups: Tensor | None,
        texts: Tensor | None,
        across: RowSizes,
        past: int,
    ) -> Tensor:
        """Return this process's share of the loss, set ``past`` of the memory included; groups where ids are labels."""
        memory, past_groups = self.past_with_labels(past) if self.uses_labels else (self.past(past), None)
        return type(self).batch_loss(
            anchors,
            ids,
            candidates,
            None if candidates is None else ids,
            self.config.margin,
            self.config.distance,
            mining=self.config.mining,
            across=across,
            memory=memory,
            group_ids=groups,
            memory_group_ids=past_groups,
            text_ids=texts,
            memory_text_ids=self.past_text_ids(),
        )

    def _embed(self, projected: Tensor) -> Tensor:
        return F.normalize(projected, dim=-1) if self.config.normalise else projected
