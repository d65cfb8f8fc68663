"""Objectives that learn from which words stand beside each other, within one text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from mmcl.objectives.configs.base import ObjectiveConfig
from mmcl.objectives.views import ViewName

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.objective import DataFacts
    from mmcl.objectives.skip_gram import SkipGramObjective


class SkipGramConfig(ObjectiveConfig):
    """Skip-gram with negative sampling: a token's vector tells the tokens seen near it from drawn ones
    (arXiv:1310.4546). For a static text tower: model: {text: {config: {model_type: static, embedding_dim: 100}}}."""

    type: Literal["skip_gram"] = "skip_gram"
    views: tuple[ViewName, ...] = ("text.0",)
    """The texts whose tokens are learnt."""
    window: int = Field(default=5, gt=0)
    """Most tokens on either side that are a token's context; each token draws its own window from 1 to this."""
    num_negatives: int = Field(default=5, gt=0)
    """Noise tokens drawn for each pair of centre and context; 2 to 5 for large corpora, up to 20 for small ones."""
    subsample: float = Field(default=1e-3, ge=0)
    """Share of all tokens above which a token is frequent: one of share f is kept with probability sqrt(subsample / f),
    anew at each step, and windows reach over those left out. 0 keeps all."""
    noise_power: float = Field(default=0.75, ge=0)
    """Noise is drawn in proportion to count ** noise_power; 0 draws every token that occurs equally often."""

    @field_validator("views")
    @classmethod
    def _is_the_text(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # The counts that noise and subsampling go by are this view's.
        if value != ("text.0",):
            raise ValueError(f"must be [text.0], got {list(value)}")
        return value

    def most_negatives(self, facts: DataFacts) -> int | None:
        return self.num_negatives

    def build(self, model: TwoTower, facts: DataFacts) -> SkipGramObjective:
        """Make the objective.

        Raises:
            UserError: the text tower is not static, or the training source has no tokens that can be counted.
        """
        from mmcl.objectives.skip_gram import SkipGramObjective

        return SkipGramObjective(self, model, facts)
