"""Objectives with moving averages: of an encoder's weights, or of each sample's embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from mmcl.errors import UserError
from mmcl.objectives.configs.base import HeadConfig, ObjectiveConfig, PairObjectiveConfig
from mmcl.objectives.views import ViewName
from mmcl.schedules import MomentumSchedule, ScheduledMomentum

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.byol import BYOLObjective
    from mmcl.objectives.memory_bank import MemoryBankObjective
    from mmcl.objectives.moco import MoCoObjective
    from mmcl.objectives.moco_v3 import MoCoV3Objective
    from mmcl.objectives.objective import DataFacts


class TwinConfig(PairObjectiveConfig):
    """An objective with a momentum encoder, whose weights follow those of the trained one slowly."""

    momentum: ScheduledMomentum
    """Share of its weights that the momentum encoder keeps at each step: a number, or a schedule with start and
    end."""
    buffers: Literal["own", "copy", "ema"] = "own"
    """Batch norm's running statistics in the momentum encoder: those of its own batches, a copy of the trained
    encoder's, or an average of them as of the weights."""


class MoCoConfig(TwinConfig):
    """Each query looks for the momentum encoder's key of its own row, against a queue of keys of past steps
    (arXiv:1911.05722, 2003.04297)."""

    type: Literal["moco"] = "moco"
    views: tuple[ViewName, ...] = ("image.0", "image.1")
    """Queries and keys. Only the queries' view goes through the trained encoder."""
    version: Literal[1, 2] = 2
    """1: a linear head and a temperature of 0.07, 2: an MLP head and 0.2, where head and temperature say nothing
    else."""
    temperature: float = Field(default=0.2, gt=0)
    """Divides the cosines."""
    momentum: ScheduledMomentum = 0.999
    """Share of its weights that the momentum encoder keeps at each step: a number, or a schedule with start and
    end."""
    queue_size: int = Field(default=65_536, gt=0)
    """Keys in the queue, the oldest of which leave. Choose fewer than the training rows, or the queue holds keys of
    each row's own picture; those of its own group are left out of a row's negatives."""
    symmetric: bool = False
    """Take both directions and their mean, which encodes each view twice; both views' keys then enter the queue."""
    head: HeadConfig | None = HeadConfig(batch_norm=False, last_bias=True)
    """Projection, dropped at export; null compares the model's embeddings."""

    @model_validator(mode="before")
    @classmethod
    def _first_version(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("version") != 1:
            return value
        head = value.get("head", {})
        return {"temperature": 0.07, **value, "head": {"num_layers": 1, **head} if isinstance(head, dict) else head}

    @property
    def encoded_views(self) -> tuple[str, ...]:
        return self.views if self.symmetric else self.views[:1]

    def most_negatives(self, facts: DataFacts) -> int | None:
        return self.queue_size

    def build(self, model: TwoTower, facts: DataFacts) -> MoCoObjective:
        from mmcl.objectives.moco import MoCoObjective

        return MoCoObjective(self, model)


class PredictingConfig(TwinConfig):
    """An objective whose predictor follows the projection, on the side of the trained encoder alone."""

    head: HeadConfig | None
    """Projection, dropped at export; null takes the model's embeddings."""
    predictor: HeadConfig
    """What predicts the other view's projection from a projection; dropped at export. Its ``output_dim`` is that of the
    projection, which null means."""

    @model_validator(mode="after")
    def _predictor_fits(self) -> PredictingConfig:
        expected = self.head.output_dim if self.head else None
        if self.predictor.output_dim not in (None, expected):
            raise ValueError(
                f"predictor.output_dim must be null or head.output_dim, {expected or 'null'},"
                f" got {self.predictor.output_dim}"
            )
        return self


class MoCoV3Config(PredictingConfig):
    """InfoNCE in both directions with the momentum encoder's keys of the batch, behind a predictor; no queue
    (arXiv:2104.02057)."""

    type: Literal["moco_v3"] = "moco_v3"
    views: tuple[ViewName, ...] = ("image.0", "image.1")
    """The two views of a row; both go through both encoders."""
    temperature: float = Field(default=0.2, gt=0)
    """Divides the cosines; twice it multiplies the loss."""
    momentum: ScheduledMomentum = MomentumSchedule(start=0.99, end=1.0)
    """Share of its weights that the momentum encoder keeps at each step: a number, or a schedule with start and
    end."""
    head: HeadConfig | None = HeadConfig(num_layers=3, hidden_dim=4096, output_dim=256, last_batch_norm=True)
    """Projection, dropped at export; by default that of vision transformers, where ResNets have two layers. Null takes
    the model's embeddings."""
    predictor: HeadConfig = HeadConfig(hidden_dim=4096, output_dim=None, last_batch_norm=True)
    """Predictor, dropped at export; by default that of vision transformers, where ResNets' ends without batch norm."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return facts.batch_size - 1

    def build(self, model: TwoTower, facts: DataFacts) -> MoCoV3Objective:
        from mmcl.objectives.moco_v3 import MoCoV3Objective

        return MoCoV3Objective(self, model)


class BYOLConfig(PredictingConfig):
    """Each view predicts the momentum encoder's projection of the other; no negatives (arXiv:2006.07733)."""

    type: Literal["byol"] = "byol"
    views: tuple[ViewName, ...] = ("image.0", "image.1")
    """The two views of a row; both go through both encoders."""
    momentum: ScheduledMomentum = MomentumSchedule(start=0.996, end=1.0)
    """Share of its weights that the momentum encoder keeps at each step: a number, or a schedule with start and
    end."""
    head: HeadConfig | None = HeadConfig(hidden_dim=4096, output_dim=256)
    """Projection, dropped at export; null takes the model's embeddings."""
    predictor: HeadConfig = HeadConfig(hidden_dim=4096, output_dim=None)
    """Predictor, dropped at export; its ``output_dim`` is that of the projection, which null means."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return None

    def build(self, model: TwoTower, facts: DataFacts) -> BYOLObjective:
        from mmcl.objectives.byol import BYOLObjective

        return BYOLObjective(self, model)


class MemoryBankConfig(ObjectiveConfig):
    """Instance discrimination: each row finds its own slot of a bank that holds one for each training row
    (arXiv:1805.01978)."""

    type: Literal["memory_bank"] = "memory_bank"
    views: tuple[ViewName, ...] = ("image.0",)
    """The one view that is compared with the bank."""
    temperature: float = Field(default=0.07, gt=0)
    """Divides the cosines."""
    num_noise: int = Field(default=4096, gt=0)
    """Slots drawn for each row as noise; at most as many as there are training rows."""
    momentum: ScheduledMomentum = 0.5
    """Share of a slot that stays when its row comes by."""
    head: HeadConfig | None = HeadConfig(num_layers=1, last_bias=True)
    """Projection, dropped at export; null compares the model's embeddings."""

    @field_validator("views")
    @classmethod
    def _is_one(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) != 1:
            raise ValueError(f"must be one view, got {list(value)}")
        return value

    def most_negatives(self, facts: DataFacts) -> int | None:
        return self.num_noise if facts.num_samples is None else min(self.num_noise, facts.num_samples)

    def build(self, model: TwoTower, facts: DataFacts) -> MemoryBankObjective:
        """Make the objective.

        Raises:
            UserError: the training data is a stream, whose rows cannot be counted.
        """
        from mmcl.objectives.memory_bank import MemoryBankObjective

        if facts.num_samples is None:
            raise UserError("memory_bank keeps a slot for each training row, and the rows of a stream are not counted")
        return MemoryBankObjective(self, model, facts)
