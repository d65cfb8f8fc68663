"""BYOL: predict the target network's projection of one view from the other view (arXiv:2006.07733)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmcl.losses.byol import byol_loss
from mmcl.objectives.heads import Projector, build_head
from mmcl.objectives.momentum_encoder import MomentumEncoder
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput, Progress
from mmcl.schedules import value_at

if TYPE_CHECKING:
    from mmcl.batch import PairBatch
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.momentum import BYOLConfig


class BYOLObjective(Objective):
    """Both directions of the prediction. There are no negatives, and no chance level: a constant would reach 0."""

    def __init__(self, config: BYOLConfig, model: TwoTower) -> None:
        super().__init__()
        self.views, self.momentum = config.views, config.momentum
        self.projector = Projector(config.head, model, config.views)
        self.predictor = build_head(config.predictor, self.projector.output_dim)
        self.twin = MomentumEncoder(model, self.projector, config.views, config.buffers)

    def encode_keys(self, model: TwoTower, batch: PairBatch) -> tuple[Tensor, ...]:
        return tuple(self.twin.encode(model, batch, view) for view in self.views)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = encoded.select(self.views)
        if rows.across.total < 2:
            return self.nothing(rows, *map(self.projector.input_of, rows.views))
        prediction_1, prediction_2 = (self.predictor(self.projector(view)) for view in rows.views)
        target_1, target_2 = (
            self.twin.project(encoded.take_keys(key, view, rows.rows))
            for key, view in zip(encoded.keys[self.name], self.views, strict=True)
        )
        loss = byol_loss(prediction_1, target_2, prediction_2, target_1, across=rows.across)
        return ObjectiveOutput(loss, None, rows.across.total)

    def after_optimizer_step(self, model: TwoTower, progress: Progress) -> None:
        """Move the twin with the momentum of the step that is done, tau_k after step k (section 3.2)."""
        self.twin.update(model, self.projector, value_at(self.momentum, progress.step, progress.num_steps))
