"""What every training objective is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from mmcl.distributed import RowSizes
    from mmcl.model import Encoded, TwoTower


@dataclass(frozen=True)
class Needs:
    """What an objective asks of the data and the model."""

    image_views: int = 0
    """Views of each picture."""
    text_views: int = 0
    """Views of each text."""


@dataclass(frozen=True)
class EncodedBatch:
    """The views of a batch, each encoded once, and what crosses processes once for all objectives.

    Attributes:
        images: one ``Encoded`` per image view, ``(n, ...)`` rows of this process.
        texts: one ``Encoded`` per text view.
        scale: 1 / temperature, a float32 scalar.
        group_ids: ``(n,)`` int64 of this process's rows.
        all_group_ids: ``(N,)`` int64 of all processes' rows, in rank order.
        sizes: how many rows each process holds.
    """

    images: tuple[Encoded, ...]
    texts: tuple[Encoded, ...]
    scale: Tensor
    group_ids: Tensor
    all_group_ids: Tensor
    sizes: RowSizes


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective says of one batch.

    Attributes:
        loss: scalar with a gradient, this process's share: the shares of all processes add up to the loss of the
            concatenated batch.
        chance: the loss of a model that knows nothing.
    """

    loss: Tensor
    chance: float


class Objective(nn.Module, ABC):
    """One term of the training loss, with whatever state its method has."""

    needs: Needs

    @abstractmethod
    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        """Compute this process's share of the loss, in float32."""

    @abstractmethod
    def after_optimizer_step(self, model: TwoTower) -> None:
        """Do what the method does between steps: clamp, move an average, fill a queue."""
