"""Objectives that compare the dimensions of embeddings, not their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mmcl.objectives.configs.base import HeadConfig, PairObjectiveConfig
from mmcl.objectives.views import ViewName

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.barlow_twins import BarlowTwinsObjective
    from mmcl.objectives.objective import DataFacts


class BarlowTwinsConfig(PairObjectiveConfig):
    """The cross-correlation of two views' dimensions becomes the identity; no negatives (arXiv:2103.03230)."""

    type: Literal["barlow_twins"] = "barlow_twins"
    views: tuple[ViewName, ...] = ("image.0", "image.1")
    """The two views of a row."""
    off_diagonal_weight: float = Field(default=0.0051, gt=0)
    """Lambda: what the squared correlations of different dimensions count."""
    loss_scale: float = Field(default=1.0, gt=0)
    """Factor on the loss; the paper's code has 0.024, with LARS."""
    head: HeadConfig | None = HeadConfig(num_layers=3, hidden_dim=8192, output_dim=8192)
    """Projection, wide on purpose, dropped at export; the loss takes matrices of its output's width squared. Null
    compares the model's embeddings."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return None

    def build(self, model: TwoTower, facts: DataFacts) -> BarlowTwinsObjective:
        from mmcl.objectives.barlow_twins import BarlowTwinsObjective

        return BarlowTwinsObjective(self, model)
