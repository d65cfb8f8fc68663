"""Distillation from a frozen teacher: its similarities, and its embeddings (CLIP-KD, arXiv:2307.12732)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from mmcl.errors import UserError
from mmcl.losses.distillation import distillation_loss, feature_distillation_loss
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput
from mmcl.objectives.teacher import Teacher
from mmcl.objectives.views import modality_of

if TYPE_CHECKING:
    from mmcl.batch import PairBatch
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.cross_modal import DistillationConfig


class DistillationObjective(Objective):
    """The student's softmax over the batch of all processes is to be the teacher's, in both directions.

    The student's temperature is the model's own. Groups play no part: how alike two rows are is for the teacher to say.
    The chance level is the loss of a student whose cosines, with each other and with the teacher's, are all 0.

    Args:
        config: its fields.
        model: the student, as it is when the run begins.

    Raises:
        UserError: there is no such teacher, or it does not fit the student.
    """

    def __init__(self, config: DistillationConfig, model: TwoTower) -> None:
        super().__init__()
        self.views, self.teacher_views = config.views, config.teacher_views or config.views
        self.feature_weight, self.similarity_weight = config.feature_weight, config.similarity_weight
        self.scale = None if config.temperature is None else 1 / config.temperature
        self.teacher = Teacher.of(config.teacher, model)
        for view in self.teacher_views:
            self.teacher.require(modality_of(view))
        width, own_width = self.teacher.model.embedding_dim, model.embedding_dim
        if self.feature_weight and width != own_width:
            raise UserError(
                f"distillation.feature_weight must be 0 where embeddings differ in width: the teacher's have {width}"
                f" dimensions, the student's {own_width}"
            )

    def encode_keys(self, model: TwoTower, batch: PairBatch) -> tuple[Tensor, ...]:
        self.teacher.follow(model)
        made = {view: self.teacher.encode(batch, view) for view in dict.fromkeys(self.teacher_views)}
        return tuple(made[view] for view in self.teacher_views)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        first, second = (view.embeddings for view in rows.views)
        if rows.across.total < 2:
            return self.nothing(rows, first, second, encoded.scale)
        keys = zip(encoded.keys[self.name], self.teacher_views, strict=True)
        its_first, its_second = (encoded.take_keys(key, view, rows.rows) for key, view in keys)
        student, teacher = (first, second), (its_first, its_second)
        loss = 0.0 * encoded.scale  # so that the temperature has a gradient in every step, whatever the weights
        if self.similarity_weight:
            scale = self.teacher.scale if self.scale is None else self.scale
            similarity = distillation_loss(student, teacher, encoded.scale, scale, across=rows.across)
            loss = loss + self.similarity_weight * similarity
        if self.feature_weight:
            loss = loss + self.feature_weight * feature_distillation_loss(student, teacher, across=rows.across)
        num_rows = rows.across.total
        chance = self.similarity_weight * math.log(num_rows) + 4 * self.feature_weight
        return ObjectiveOutput(loss, chance, num_rows)
