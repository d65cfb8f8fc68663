"""Objectives that learn from the words of one text, not from texts as wholes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from mmcl.objectives.configs.base import ObjectiveConfig
from mmcl.objectives.views import ViewName

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.mlm import MLMObjective
    from mmcl.objectives.objective import DataFacts
    from mmcl.objectives.skip_gram import SkipGramObjective


class WordsConfig(ObjectiveConfig):
    """An objective on the tokens of the captions or anchors."""

    views: tuple[ViewName, ...] = ("text.0",)
    """The texts whose tokens are learnt."""

    @field_validator("views")
    @classmethod
    def _is_the_text(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # The counts that skip-gram draws noise by are this view's.
        if value != ("text.0",):
            raise ValueError(f"must be [text.0], got {list(value)}")
        return value


class MLMConfig(WordsConfig):
    """Masked language modelling: the text model predicts tokens that it is not shown, so that it keeps what it knew of
    words while it learns to embed texts (arXiv:1810.04805). It has a pass of its own over the texts, and does not go
    together with ``micro_batch_size``."""

    type: Literal["mlm"] = "mlm"
    mlm_probability: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens to predict, special ones apart; of these 80% are masked, 10% replaced by a random token and
    10% left as they are."""
    mask_token: str | None = None
    """The token that stands for a masked one. null is the tokenizer's mask token; where it has none, its unknown token,
    which tokenizers with byte fallback make of no text."""

    @property
    def encoded_views(self) -> tuple[str, ...]:
        return ()

    def most_negatives(self, facts: DataFacts) -> int | None:
        return None

    def build(self, model: TwoTower, facts: DataFacts) -> MLMObjective:
        """Make the objective.

        Raises:
            UserError: no transformers text model that reads both ways, or no token to mask with.
        """
        from mmcl.objectives.mlm import MLMObjective

        return MLMObjective(self, model, facts)


class SkipGramConfig(WordsConfig):
    """Skip-gram with negative sampling: a token's vector tells the tokens seen near it from drawn ones
    (arXiv:1310.4546). For a static text tower: model: {text: {config: {model_type: static, embedding_dim: 100}}}."""

    type: Literal["skip_gram"] = "skip_gram"
    window: int = Field(default=5, gt=0)
    """Most tokens on either side that are a token's context; each token draws its own window from 1 to this."""
    num_negatives: int = Field(default=5, gt=0)
    """Noise tokens drawn for each pair of centre and context; 2 to 5 for large corpora, up to 20 for small ones."""
    subsample: float = Field(default=1e-3, ge=0)
    """Share of all tokens above which a token is frequent: one of share f is kept with probability sqrt(subsample / f),
    anew at each step, and windows reach over those left out. 0 keeps all."""
    noise_power: float = Field(default=0.75, ge=0)
    """Noise is drawn in proportion to count ** noise_power; 0 draws every token that occurs equally often."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return self.num_negatives

    def build(self, model: TwoTower, facts: DataFacts) -> SkipGramObjective:
        """Make the objective.

        Raises:
            UserError: the text tower is not static, or the training source has no tokens that can be counted.
        """
        from mmcl.objectives.skip_gram import SkipGramObjective

        return SkipGramObjective(self, model, facts)
