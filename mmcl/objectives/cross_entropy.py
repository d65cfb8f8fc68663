"""Cross-entropy of a linear classifier: the supervised baseline, and the second term of semi-supervised runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

from mmcl.errors import UserError
from mmcl.objectives.labelled import labelled
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput
from mmcl.objectives.views import modality_of

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.configs.labels import CrossEntropyConfig
    from mmcl.objectives.objective import DataFacts


class CrossEntropyObjective(Objective):
    """A linear classifier on the features of one view, dropped at export; unlabelled rows take no part.

    Args:
        config: its fields.
        model: whose features are classified.
        facts: which classes there are.

    Raises:
        UserError: the data have fewer than two classes.
    """

    def __init__(self, config: CrossEntropyConfig, model: TwoTower, facts: DataFacts) -> None:
        super().__init__()
        self.num_classes = len(facts.class_names)
        if self.num_classes < 2:
            raise UserError(
                f"cross_entropy needs at least 2 classes, and the data have {self.num_classes}: name the column of the"
                " labels as data.columns.label"
            )
        self.views, self.label_smoothing = config.views, config.label_smoothing
        towers = model.towers
        width = towers.image_dim if modality_of(config.views[0]) == "image" else towers.text_dim
        self.classifier = nn.Linear(width, self.num_classes)

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        rows = labelled(encoded.select(self.views))
        (view,) = rows.views
        if rows.across.total == 0:
            return self.nothing(rows, view.features)
        # In float32 (float64 stays what it is), whatever the tower computes in.
        scores = self.classifier(view.features.to(view.projected.dtype))
        # A sum, so that a process without a labelled row has a share of 0 and not of 0 / 0.
        losses = F.cross_entropy(scores, rows.labels, reduction="sum", label_smoothing=self.label_smoothing)
        return ObjectiveOutput(losses / rows.across.total, math.log(self.num_classes), rows.across.total)
