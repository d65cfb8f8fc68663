"""Objectives that assign rows to prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mmcl.errors import UserError
from mmcl.objectives.configs.base import HeadConfig, ObjectiveConfig
from mmcl.objectives.views import ViewName
from mmcl.recipe_fields import NotNegative

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.objective import DataFacts, Progress
    from mmcl.objectives.swav import SwAVObjective

FEWEST_PROTOTYPES, MOST_PROTOTYPES, SAMPLES_PER_PROTOTYPE = 10, 3000, 10


class SwAVConfig(ObjectiveConfig):
    """Every crop predicts to which prototypes the two global crops are assigned (arXiv:2006.09882)."""

    type: Literal["swav"] = "swav"
    views: tuple[ViewName, ...] = Field(default=("image.0", "image.1"), min_length=2)
    """The two global crops, from which the codes come, then any number of others, such as small crops."""
    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines with the prototypes."""
    num_prototypes: int | None = Field(default=None, gt=1)
    """Prototypes; by default one for each 10 training rows, at least 10, at most 3,000 and no more than the rows of a
    batch and the queue, as codes give the same mass to each."""
    epsilon: float = Field(default=0.05, gt=0)
    """How soft the codes are; the smaller, the harder."""
    num_iterations: int = Field(default=3, gt=0)
    """Iterations of Sinkhorn-Knopp."""
    freeze_epochs: NotNegative = 1.0
    """Epochs from the start for which the prototypes stay as they are; 0 trains them at once."""
    freeze_steps: int | None = Field(default=None, ge=0)
    """The same in steps, instead; a stream, whose epochs have no length, needs it."""
    queue_size: int = Field(default=0, ge=0)
    """Rows of past steps that take part in the balance of the codes, for batches smaller than a few hundred; 0 keeps
    none."""
    queue_start_epoch: NotNegative = 15.0
    """Epochs after which the queue begins to fill; it takes part once it is full."""
    queue_start_step: int | None = Field(default=None, ge=0)
    """The same in steps, instead; a stream needs it."""
    head: HeadConfig | None = HeadConfig(hidden_dim=2048, last_bias=True)
    """Projection, dropped at export; null compares the model's embeddings."""

    def prototypes_are_frozen(self, progress: Progress) -> bool:
        """Whether the prototypes stay as they are at a step."""
        return progress.step < _steps(self.freeze_epochs, self.freeze_steps, progress)

    def queue_is_open(self, progress: Progress) -> bool:
        """Whether the rows of a step enter the queue."""
        return progress.step >= _steps(self.queue_start_epoch, self.queue_start_step, progress)

    def most_negatives(self, facts: DataFacts) -> int | None:
        return None

    def build(self, model: TwoTower, facts: DataFacts) -> SwAVObjective:
        """Make the objective.

        Raises:
            UserError: the training data is a stream, and what follows from its length is not given.
        """
        from mmcl.objectives.swav import SwAVObjective

        return SwAVObjective(self, model, self._count_prototypes(facts))

    def _count_prototypes(self, facts: DataFacts) -> int:
        if facts.num_samples is None:
            needed = {
                "num_prototypes": self.num_prototypes is None,
                "freeze_steps": self.freeze_steps is None and self.freeze_epochs > 0,
                "queue_start_step": self.queue_start_step is None and self.queue_size > 0,
            }
            if any(needed.values()):
                names = ", ".join(name for name, is_missing in needed.items() if is_missing)
                raise UserError(f"swav: the length of a stream is not known; give {names}")
        if self.num_prototypes is not None:
            return self.num_prototypes
        assert facts.num_samples is not None
        balanced = facts.batch_size + self.queue_size if facts.batch_size else MOST_PROTOTYPES
        wanted = min(MOST_PROTOTYPES, max(FEWEST_PROTOTYPES, facts.num_samples // SAMPLES_PER_PROTOTYPE))
        return max(2, min(wanted, balanced))


def _steps(epochs: float, steps: int | None, progress: Progress) -> int:
    """Return a number of epochs in steps, unless it was given in steps."""
    return round(epochs * (progress.steps_per_epoch or 0)) if steps is None else steps
