"""CLIP: symmetric InfoNCE between two views (arXiv:2103.00020, figure 3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from mmcl.losses.clip import clip_loss
from mmcl.losses.clip_captions import clip_captions_loss
from mmcl.objectives.hard_negatives import HardNegatives, gather_hard_negatives
from mmcl.objectives.objective import EncodedBatch, ObjectiveOutput, Selected
from mmcl.objectives.views import modality_of
from mmcl.objectives.with_memory import ObjectiveWithMemory

if TYPE_CHECKING:
    from mmcl.objectives.configs.cross_modal import CLIPConfig


class CLIPObjective(ObjectiveWithMemory):
    """Both directions of InfoNCE over the pairs of all processes, with the model's own temperature."""

    def __init__(self, config: CLIPConfig, embedding_dim: int) -> None:
        super().__init__(config.memory, embedding_dim, config.views, num_sets=2)
        self.views, self.negative_views = config.views, config.optional_views
        self.takes_all_captions = tuple(map(modality_of, config.views)) == ("image", "text")

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        first, second = (view.embeddings for view in rows.views)
        if rows.across.total < 2:
            return self.nothing(rows, first, second, encoded.scale)
        negatives = None
        if self.negative_views:
            negatives = gather_hard_negatives(encoded, rows, self.views[1], self.negative_views)
        loss, num_texts = self._loss(encoded, rows, negatives)
        self.remember((first, second), rows.group_ids, rows.across, text_ids=encoded.text_ids(self.views, rows))
        num_images, num_texts = rows.across.total + self.num_past, num_texts + self.num_past
        # Pictures are compared with the hard negatives too, texts with pictures alone.
        num_compared = num_texts + (0 if negatives is None else len(negatives[0]))
        return ObjectiveOutput(loss, (math.log(num_compared) + math.log(num_images)) / 2, rows.across.total)

    def _loss(self, encoded: EncodedBatch, rows: Selected, negatives: HardNegatives | None) -> tuple[Tensor, int]:
        """Return this process's share of the loss, and how many texts the pictures are compared with."""
        scale = encoded.scale
        first, second = (view.embeddings for view in rows.views)
        if not (encoded.batch.has_several_captions and self.takes_all_captions):
            loss = clip_loss(
                first,
                second,
                scale,
                rows.group_ids,
                text_ids=encoded.text_ids(self.views, rows),
                across=rows.across,
                memory=self.past_pairs(),
                memory_text_ids=self.past_text_ids(),
                negatives=negatives,
            )
            return loss, rows.across.total
        texts = encoded.texts_of(self.views[1], rows)
        loss = clip_captions_loss(
            first,
            texts.embeddings,
            scale,
            rows.group_ids,
            texts.group_ids,
            text_ids=texts.ids_by_row(len(rows.group_ids)),
            caption_text_ids=texts.text_ids,
            across=(rows.across, texts.across),
            memory=self.past_pairs(),
            memory_text_ids=self.past_text_ids(),
            negatives=negatives,
        )
        return loss, texts.across.total
