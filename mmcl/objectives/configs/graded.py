"""Objectives that learn from pairs with a score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mmcl.objectives.configs.base import HeadConfig, MatryoshkaConfig, PairObjectiveConfig
from mmcl.objectives.views import ViewName

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.cosent import CoSENTObjective
    from mmcl.objectives.objective import DataFacts


class CoSENTConfig(PairObjectiveConfig, MatryoshkaConfig):
    """Of every two pairs with different scores, the one with the higher score is to have the higher cosine (Huang et
    al., TASLP 2024)."""

    type: Literal["cosent"] = "cosent"
    views: tuple[ViewName, ...] = ("text.0", "text.1")
    """The two texts of a pair, to which ``data.columns.score`` gives a score."""
    temperature: float = Field(default=0.05, gt=0)
    """Divides the cosines; 0.05 is the scale of 20 in other libraries."""
    head: HeadConfig | None = None
    """Projection, dropped at export; null compares the model's embeddings."""

    @property
    def needs_scores(self) -> bool:
        return True

    def most_negatives(self, facts: DataFacts) -> int | None:
        return None

    def build(self, model: TwoTower, facts: DataFacts) -> CoSENTObjective:
        from mmcl.objectives.cosent import CoSENTObjective

        return CoSENTObjective(self, model)
