"""What the fields of every objective share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mmcl.objectives.views import ViewName
from mmcl.schedules import ScheduledWeight
from mmcl.section import Section

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.objective import DataFacts, Objective


class ObjectiveConfig(Section):
    """An objective of a recipe. Its ``type`` is the name that the recipe, the log and the chart call it by."""

    weight: ScheduledWeight = 1.0
    """Factor on this objective's loss in the sum: a number, or a schedule with start and end."""
    views: tuple[ViewName, ...]
    """What it compares."""

    @property
    def optional_views(self) -> tuple[str, ...]:
        """What it takes of a row beside its views, where the row has it."""
        return ()

    @property
    def encoded_views(self) -> tuple[str, ...]:
        """Those of the views that go through the model's own towers; others only through a momentum encoder."""
        return (*self.views, *self.optional_views)

    @property
    def widths(self) -> tuple[int, ...]:
        """At which of the model's embeddings' widths it is computed beside the whole."""
        return ()

    @property
    def needs_labels(self) -> bool:
        """True when it is of no use without a label column."""
        return False

    @property
    def needs_scores(self) -> bool:
        """True when a row is of no use to it without a score."""
        return False

    def add_to(self, model: TwoTower) -> None:
        """Give the model what the method keeps in it at test time; called for all objectives before any is built."""
        return

    @abstractmethod
    def most_negatives(self, facts: DataFacts) -> int | None:
        """Return how many negatives an anchor has at the most in one step; None for a method without negatives.

        That many it has when all rows of the batch have its views, none shares the anchor's group or label, and
        memory or queue is full.

        Args:
            facts: of the data; ``batch_size`` is what counts, and for a memory bank ``num_samples``.
        """

    @field_validator("head", "predictor", mode="before", check_fields=False)
    @classmethod
    def _fill_in_the_methods_own(cls, value: Any, info: ValidationInfo) -> Any:
        # What a recipe does not say of a head is as the method has it, not as any head has it.
        default = cls.model_fields[str(info.field_name)].default
        return {**default.model_dump(), **value} if isinstance(value, dict) and default is not None else value

    @abstractmethod
    def build(self, model: TwoTower, facts: DataFacts) -> Objective:
        """Make the objective; its random weights come from torch's CPU generator."""


class PairObjectiveConfig(ObjectiveConfig):
    """An objective that compares two views."""

    @field_validator("views")
    @classmethod
    def _are_two(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) != 2:
            raise ValueError(f"must be two views, got {list(value)}")
        return value


class MatryoshkaConfig(ObjectiveConfig):
    """An objective that can compare the model's embeddings at several widths (Matryoshka, arXiv:2205.13147)."""

    dims: tuple[Annotated[int, Field(gt=0)], ...] = ()
    """Widths at which embeddings are to be of use: the loss is the mean of those of their first so many numbers, for
    each of these, and of all numbers. It goes without a head and without a memory. Empty: of all numbers alone."""

    @property
    def widths(self) -> tuple[int, ...]:
        return self.dims

    @field_validator("dims")
    @classmethod
    def _differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"must differ from each other, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _widths_are_of_the_models_embeddings(self) -> MatryoshkaConfig:
        if self.dims and getattr(self, "head", None) is not None:
            raise ValueError(
                "dims takes parts of the model's embeddings, and head makes others of them: write head: null, or leave"
                " dims out"
            )
        if self.dims and getattr(self, "memory", None):
            raise ValueError("dims goes without a memory, whose embeddings are whole: leave out one of the two")
        return self


class HeadConfig(Section):
    """An MLP on top of the tower, trained with its objective and dropped at export."""

    num_layers: int = Field(default=2, gt=0)
    """Linear layers; 1 is a linear projection."""
    hidden_dim: int | None = Field(default=None, gt=0)
    """Width between them; by default that of what comes in."""
    output_dim: int | None = Field(default=128, gt=0)
    """Width of what comes out; null is that of what comes in."""
    batch_norm: bool = True
    """Batch norm after every layer but the last."""
    last_batch_norm: bool = False
    """Batch norm without scale and shift after the last layer."""
    last_bias: bool = False
    """A bias in the last layer."""
    tanh: bool = False
    """A tanh at the very end."""
