"""What a model is judged by, before, during and after: its tasks, and the guard that says what it forgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation import TaskResult, compare_results
from mmcl.data.evaluation_rows import validation_rows
from mmcl.data.loader import TrainData
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_tasks import AnyTask
from mmcl.training.judge import AnyBuiltTask, build_tasks, training_rows


@dataclass(frozen=True)
class Judges:
    """The recipe's tasks.

    Attributes:
        tasks: of ``evaluate``.
        guard: of ``guard``.
    """

    tasks: list[AnyBuiltTask]
    guard: list[AnyBuiltTask]

    @property
    def all(self) -> list[AnyBuiltTask]:
        """Both, those of the guard last."""
        return [*self.tasks, *self.guard]

    def split(self, results: Sequence[TaskResult]) -> tuple[list[TaskResult], list[TaskResult]]:
        """Take apart the results of `all`."""
        return list(results[: len(self.tasks)]), list(results[len(self.tasks) :])


def build_judges(recipe: Recipe, data: TrainData, tell: Callable[[str], None] = lambda line: None) -> Judges:
    """Open the rows that the recipe's tasks and its guard judge on.

    Args:
        recipe: the run.
        data: the training rows.
        tell: called with a line for each data set of which rows had to be left out.

    Raises:
        UserError: as `build_tasks`, and where a task and a guard would have one result.
    """
    config, validation = recipe.data, validation_rows(recipe, data)

    def build(configs: Sequence[AnyTask], key: str) -> list[AnyBuiltTask]:
        return build_tasks(
            configs,
            config.columns,
            config.max_pixels,
            validation,
            tell,
            train=lambda: training_rows(recipe, data),
            key=key,
        )

    tasks, guard = build(recipe.evaluate, "evaluate"), build(recipe.guard, "guard")
    kinds = {(task.dataset, type(task)) for task in tasks}
    for number, task in enumerate(guard):
        if (task.dataset, type(task)) in kinds:
            raise UserError(
                f'guard.{number}: a task of evaluate is called "{task.dataset}" too, and their results would be one;'
                " give it a name"
            )
    return Judges(tasks, guard)


def starts_from_a_trained_model(recipe: Recipe) -> bool:
    """Whether there is something to be forgotten: a joint model with its weights, or whatever has a guard."""
    return bool(recipe.guard) or (recipe.model.name is not None and recipe.model.pretrained)


def warn_of_no_guard(recipe: Recipe) -> list[str]:
    """Return a warning where a trained model is fine-tuned and nothing looks at what it forgets."""
    if recipe.guard or not starts_from_a_trained_model(recipe):
        return []
    return [
        "no guard: what fine-tuning makes the model forget goes unseen. Give, as guard, a task on other data that the"
        " model is good at"
    ]


def fallen(before: Sequence[TaskResult], now: Sequence[TaskResult], max_drop: float) -> str | None:
    """Say which guard has fallen by more than ``max_drop``, a fraction; None where none has."""
    drops = {
        f"{one.dataset} {one.metric}": one.before - one.after for one in compare_results(before, now, intervals=False)
    }
    for name, drop in drops.items():
        if drop > max_drop:
            return (
                f"the guard {name} has fallen by {100 * drop:.1f} points, more than max_guard_drop allows"
                f" ({100 * max_drop:g}): training ends here. A lower lr, tuning by lora, a larger tuning.l2_sp, or"
                " fewer steps forget less"
            )
    return None
