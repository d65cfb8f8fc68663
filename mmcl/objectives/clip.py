"""CLIP: symmetric InfoNCE between pictures and texts (arXiv:2103.00020, figure 3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmcl.distributed import gather_rows
from mmcl.losses.clip import clip_loss
from mmcl.objectives.objective import EncodedBatch, Needs, Objective, ObjectiveOutput

if TYPE_CHECKING:
    from mmcl.model import TwoTower


class CLIPObjective(Objective):
    """Both directions of InfoNCE over the pairs of all processes, with the model's own temperature."""

    needs = Needs(image_views=1, text_views=1)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        images, texts = encoded.images[0].embeddings, encoded.texts[0].embeddings
        loss = clip_loss(
            images,
            texts,
            encoded.scale,
            encoded.group_ids,
            gather_rows(images, encoded.sizes),
            gather_rows(texts, encoded.sizes),
            encoded.all_group_ids,
        )
        return ObjectiveOutput(loss, chance=math.log(encoded.sizes.total))

    def after_optimizer_step(self, model: TwoTower) -> None:
        model.logit_scale.clamp_()
