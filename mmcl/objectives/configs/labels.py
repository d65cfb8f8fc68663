"""Objectives that know classes: from labels, or where each row is a class of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from mmcl.objectives.configs.base import HeadConfig, MatryoshkaConfig, ObjectiveConfig
from mmcl.objectives.views import ViewName, modality_of

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.cross_entropy import CrossEntropyObjective
    from mmcl.objectives.margin import MarginObjective
    from mmcl.objectives.objective import DataFacts
    from mmcl.objectives.sup_con import SupConObjective
    from mmcl.objectives.triplet import TripletObjective


class SupConConfig(MatryoshkaConfig):
    """Views of all rows of one class attract each other, all others repel; with unlabelled rows it is semi-supervised
    (arXiv:2004.11362)."""

    type: Literal["supcon"] = "supcon"
    views: tuple[ViewName, ...] = Field(default=("image.0", "image.1"), min_length=1)
    """Views of one row, each other's positives whatever its label."""
    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines."""
    unlabelled: Literal["own_view", "left_out"] = "own_view"
    """What becomes of rows without a label: only their own other views are their positives, and they repel all other
    rows; or they take no part at all."""
    form: Literal["out", "in"] = "out"
    """Whether the mean over an anchor's positives is outside of the logarithm, the paper's equation 2, or inside,
    its equation 3."""
    head: HeadConfig | None = HeadConfig(batch_norm=False, last_bias=True)
    """Projection, dropped at export: by default a layer as wide as the tower, ReLU and a layer to 128, without batch
    norm. null compares the model's embeddings."""
    memory: int = Field(default=0, ge=0)
    """Projections of labelled rows of past steps, positives of their class and negatives of all others but those of
    their group; 0 keeps none."""

    @property
    def needs_labels(self) -> bool:
        return True

    def most_negatives(self, facts: DataFacts) -> int | None:
        # An anchor without a positive has a loss of 0; of one view, the positive is another row's.
        num_positives = max(len(self.views) - 1, 1)
        return len(self.views) * facts.batch_size - 1 - num_positives + self.memory

    def build(self, model: TwoTower, facts: DataFacts) -> SupConObjective:
        from mmcl.objectives.sup_con import SupConObjective

        return SupConObjective(self, model)


class CrossEntropyConfig(ObjectiveConfig):
    """A linear classifier on the tower's features, dropped at export; rows without a label are left out."""

    type: Literal["cross_entropy"] = "cross_entropy"
    views: tuple[ViewName, ...] = ("image.0",)
    """The view that is classified."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over all classes; 0 spreads none."""

    @property
    def needs_labels(self) -> bool:
        return True

    @field_validator("views")
    @classmethod
    def _is_one(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) != 1:
            raise ValueError(f"must be one view, got {list(value)}")
        return value

    def most_negatives(self, facts: DataFacts) -> int | None:
        return None

    def build(self, model: TwoTower, facts: DataFacts) -> CrossEntropyObjective:
        from mmcl.objectives.cross_entropy import CrossEntropyObjective

        return CrossEntropyObjective(self, model, facts)


class MinedConfig(MatryoshkaConfig):
    """Pairs or triplets formed within the batch. Views of one modality are thrown together; of a picture and a text
    each looks for the other."""

    views: tuple[ViewName, ...] = Field(default=("image.0", "image.1"), min_length=1)
    """Views of one modality, or one picture and one text."""
    positives: Literal["rows", "labels"] = "rows"
    """What belongs together: the views of one row and of rows of equal group, or of rows of equal label; then rows
    without a label are left out, and rows of one group but two labels are neither positives nor negatives."""
    distance: Literal["euclidean", "sq_euclidean", "cosine"] = "euclidean"
    """How far two embeddings are from each other; cosine is 1 - cos."""
    margin: float = Field(gt=0)
    """How far apart things have to be, in units of the distance."""
    mining: Literal["all", "random", "semi_hard", "hard"]
    """Which pairs or triplets count."""
    normalise: bool = True
    """Compare unit vectors, as the exported embeddings are; false compares them as they come."""
    head: HeadConfig | None = None
    """Projection, dropped at export; null compares the model's embeddings."""
    memory: int = Field(default=0, ge=0)
    """Embeddings of past steps that serve as further candidates, positives where they belong together; 0 keeps
    none."""

    @property
    def needs_labels(self) -> bool:
        return self.positives == "labels"

    @field_validator("views")
    @classmethod
    def _go_together(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({modality_of(view) for view in value}) == 2 and len(value) != 2:
            raise ValueError(f"must be views of one modality, or one picture and one text, got {list(value)}")
        return value

    def most_negatives(self, facts: DataFacts) -> int:
        """As of every objective, before mining chooses among them."""
        num_views = 1 if len({modality_of(view) for view in self.views}) == 2 else len(self.views)
        return num_views * (facts.batch_size - 1) + self.memory

    @model_validator(mode="after")
    def _has_positives(self) -> MinedConfig:
        if self.positives == "rows" and len(self.views) < 2:
            raise ValueError("positives: rows needs two views at least; one view goes with positives: labels")
        return self


class TripletConfig(MinedConfig):
    """The anchor's positive must be nearer than its negative by a margin (arXiv:1503.03832)."""

    type: Literal["triplet"] = "triplet"
    margin: float = Field(default=0.2, gt=0)
    """By how much, in units of the distance."""
    mining: Literal["all", "random", "semi_hard", "hard"] = "semi_hard"
    """Which triplets: all; each positive with a random negative; those whose negative is farther than the positive, but
    by less than the margin; or of each anchor the farthest positive and the nearest negative."""

    def most_negatives(self, facts: DataFacts) -> int:
        # There is no triplet without a positive; of one view it is another row's.
        return super().most_negatives(facts) - (len(self.views) == 1)

    def build(self, model: TwoTower, facts: DataFacts) -> TripletObjective:
        from mmcl.objectives.triplet import TripletObjective

        return TripletObjective(self, model)


class MarginConfig(MinedConfig):
    """Pulls together what belongs together, and pushes everything else a margin apart (Hadsell, Chopra and LeCun 2006,
    equation 4)."""

    type: Literal["margin"] = "margin"
    margin: float = Field(default=1.0, gt=0)
    """Distance beyond which others are left alone."""
    mining: Literal["all", "random", "semi_hard", "hard"] = "all"
    """Which pairs: all; for each similar pair one random dissimilar pair; dissimilar ones farther than the anchor's
    nearest positive but inside the margin; or of each anchor the farthest positive and the nearest negative."""

    def build(self, model: TwoTower, facts: DataFacts) -> MarginObjective:
        from mmcl.objectives.margin import MarginObjective

        return MarginObjective(self, model)
