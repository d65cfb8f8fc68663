"""Objectives that compare views of one thing within a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mmcl.objectives.configs.base import HeadConfig, MatryoshkaConfig, PairObjectiveConfig
from mmcl.objectives.views import FIRST_NEGATIVE, ViewName

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.n_pair import NPairObjective
    from mmcl.objectives.objective import DataFacts
    from mmcl.objectives.simclr import SimCLRObjective
    from mmcl.objectives.simcse import SimCSEObjective, SupervisedSimCSEObjective


class SimCLRConfig(MatryoshkaConfig):
    """NT-Xent between views of one picture, or of one text; all other rows are negatives (arXiv:2002.05709)."""

    type: Literal["simclr"] = "simclr"
    views: tuple[ViewName, ...] = Field(default=("image.0", "image.1"), min_length=2)
    """Views of one row, each other's positives. A view that CLIP takes too is encoded once for both, but then CLIP
    learns from it as distorted as SimCLR wants it."""
    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines; 0.5 suits small pictures."""
    head: HeadConfig | None = HeadConfig()
    """Projection, dropped at export; null compares the model's embeddings."""
    memory: int = Field(default=0, ge=0)
    """Projections of past steps that serve as further negatives; 0 keeps none."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return len(self.views) * (facts.batch_size - 1) + self.memory

    def build(self, model: TwoTower, facts: DataFacts) -> SimCLRObjective:
        from mmcl.objectives.simclr import SimCLRObjective

        return SimCLRObjective(self, model)


class SimCSEConfig(PairObjectiveConfig, MatryoshkaConfig):
    """Two passes over one text, which differ in their dropout, find each other among those of all rows; rows of equal
    group are no negatives of each other (arXiv:2104.08821, section 3)."""

    type: Literal["simcse"] = "simcse"
    views: tuple[ViewName, ...] = ("text.0", "text.0")
    """Anchor and positive; a view named twice is encoded twice. Pictures will do as well."""
    temperature: float = Field(default=0.05, gt=0)
    """Divides the cosines."""
    head: HeadConfig | None = HeadConfig(num_layers=1, output_dim=None, batch_norm=False, last_bias=True, tanh=True)
    """Projection for training only, dropped at export: by default a linear layer with tanh. null compares the model's
    embeddings."""
    memory: int = Field(default=0, ge=0)
    """Second passes of past steps that serve as further negatives; 0 keeps none."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return facts.batch_size - 1 + self.memory

    def build(self, model: TwoTower, facts: DataFacts) -> SimCSEObjective:
        from mmcl.objectives.simcse import SimCSEObjective

        return SimCSEObjective(self, model)


class SupervisedSimCSEConfig(MatryoshkaConfig):
    """Each anchor finds its positive among the positives and the hard negatives of all rows; rows of equal group are no
    negatives of each other (arXiv:2104.08821, section 4). Without its head it is the multiple negatives ranking loss of
    sentence-transformers, also known as in-batch negatives."""

    type: Literal["simcse_supervised"] = "simcse_supervised"
    views: tuple[ViewName, ...] = Field(default=("text.0", "text.1", "text.2"), min_length=2)
    """Anchor, positive and then the hard negatives, of which there may be any number, also none. By default all hard
    negatives that ``data.columns.negatives`` names, one where it says nothing."""
    temperature: float = Field(default=0.05, gt=0)
    """Divides the cosines."""
    symmetric: bool = False
    """Let each positive look for its anchor among all anchors as well, and take the mean of both directions."""
    hard_negative_weight: float = Field(default=1.0, ge=0)
    """How much the row's own hard negatives count, the paper's alpha; those of other rows count as 1. 0 leaves the own
    ones out."""
    keep_head: bool = True
    """Give the model a linear layer with tanh that is trained here and stays at export, for a model of texts alone.
    false compares the model's embeddings as they are."""
    memory: int = Field(default=0, ge=0)
    """Positives of past steps that serve as further negatives, and their anchors where it is symmetric; 0 keeps
    none."""

    def with_hard_negatives(self, count: int | None) -> SupervisedSimCSEConfig:
        """Return it with so many hard negatives, where its views are left to the data; None for what it has."""
        if count is None or "views" in self.model_fields_set:
            return self
        negatives = (f"text.{FIRST_NEGATIVE + number}" for number in range(count))
        return self.model_copy(update={"views": ("text.0", "text.1", *negatives)})

    def most_negatives(self, facts: DataFacts) -> int | None:
        num_hard = len(self.views) - 2
        own = num_hard if self.hard_negative_weight else 0
        return (1 + num_hard) * (facts.batch_size - 1) + own + self.memory

    def add_to(self, model: TwoTower) -> None:
        """Give the model its head, where one is kept.

        Raises:
            UserError: the model is not of texts alone.
        """
        if self.keep_head:
            model.keep_text_head()

    def build(self, model: TwoTower, facts: DataFacts) -> SupervisedSimCSEObjective:
        from mmcl.objectives.simcse import SupervisedSimCSEObjective

        return SupervisedSimCSEObjective(self, model)


class NPairConfig(PairObjectiveConfig, MatryoshkaConfig):
    """Each anchor against the positives of all rows by products of embeddings that are not normalised; rows of equal
    group are no negatives of each other (Sohn 2016)."""

    type: Literal["n_pair"] = "n_pair"
    views: tuple[ViewName, ...] = ("image.0", "image.1")
    """Anchor and positive."""
    l2: float = Field(default=0.0, ge=0)
    """Weight of the mean squared length of anchors and positives, which keeps them from growing; 0 leaves it out."""
    head: HeadConfig | None = None
    """Projection, dropped at export; null compares the model's embeddings, before they are normalised."""
    memory: int = Field(default=0, ge=0)
    """Positives of past steps that serve as further negatives; 0 keeps none."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return facts.batch_size - 1 + self.memory

    def build(self, model: TwoTower, facts: DataFacts) -> NPairObjective:
        from mmcl.objectives.n_pair import NPairObjective

        return NPairObjective(self, model)
