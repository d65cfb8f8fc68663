"""What a model is judged by, before, during and after: its tasks, and the guard that says what it forgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation import TaskResult, compare_results
from mmcl import distributed
from mmcl.data.evaluation_rows import validation_rows
from mmcl.data.loader import TrainData
from mmcl.data.text_rows import validation_text_rows
from mmcl.errors import UnreachableError, UserError
from mmcl.recipe import Recipe
from mmcl.recipe_tasks import AnyTask
from mmcl.training.judge import AnyBuiltTask, build_tasks, training_rows


@dataclass(frozen=True)
class Judges:
    """The recipe's tasks.

    Attributes:
        tasks: of ``evaluate``.
        guard: of ``guard``, those whose data can be had.
        lacking: the numbers of the others in the recipe.
        warnings: what goes unseen.
    """

    tasks: list[AnyBuiltTask]
    guard: list[AnyBuiltTask]
    lacking: frozenset[int] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def all(self) -> list[AnyBuiltTask]:
        """Both, those of the guard last."""
        return [*self.tasks, *self.guard]

    def split(self, results: Sequence[TaskResult]) -> tuple[list[TaskResult], list[TaskResult]]:
        """Take apart the results of `all`."""
        return list(results[: len(self.tasks)]), list(results[len(self.tasks) :])


def build_judges(recipe: Recipe, data: TrainData, tell: Callable[[str], None] = lambda line: None) -> Judges:
    """Open the rows that the recipe's tasks and its guard judge on.

    Every process must call it: a guard that one of them cannot have is left out on all.

    Args:
        recipe: the run.
        data: the training rows.
        tell: called with a line for each data set of which rows had to be left out.

    Raises:
        UserError: as `build_tasks`, where a task and a guard would have one result, and where a guard on the hub cannot
            be had now that the recipe cannot do without.
    """
    config, validation = recipe.data, validation_rows(recipe, data)

    def build(
        configs: Sequence[AnyTask], key: str, unreachable: dict[int, UnreachableError] | None
    ) -> list[AnyBuiltTask]:
        return build_tasks(
            configs,
            config.columns,
            config.max_pixels,
            validation,
            tell,
            train=lambda: training_rows(recipe, data),
            key=key,
            unreachable=unreachable,
            validation_texts=lambda needs: validation_text_rows(recipe, data, needs),
        )

    tasks = build(recipe.evaluate, "evaluate", None)
    missed: dict[int, UnreachableError] = {}
    built = build(recipe.guard, "guard", missed)
    numbered = dict(zip((number for number in range(len(recipe.guard)) if number not in missed), built, strict=True))
    _check_names(tasks, numbered)
    reasons = {number: str(error.__cause__) for number, error in missed.items()}
    lacking = {number: reason for found in distributed.gather_objects(reasons) for number, reason in found.items()}
    _check_can_do_without(recipe, lacking)
    guard = [task for number, task in numbered.items() if number not in lacking]
    return Judges(tasks, guard, frozenset(lacking), tuple(warn_of_no_guard(recipe, lacking)))


def _check_names(tasks: Sequence[AnyBuiltTask], guard: Mapping[int, AnyBuiltTask]) -> None:
    kinds = {(task.dataset, type(task)) for task in tasks}
    for number, task in guard.items():
        if (task.dataset, type(task)) in kinds:
            raise UserError(
                f'guard.{number}: a task of evaluate is called "{task.dataset}" too, and their results would be one;'
                " give it a name"
            )


def starts_from_a_trained_model(recipe: Recipe) -> bool:
    """Whether a model is worth judging before it is trained: a joint one or a lone encoder with its weights, or
    whatever has a guard. Towers that are paired for the first time are not: their embeddings have no common space."""
    model = recipe.model
    towers = [tower for tower in (model.image, model.text) if tower is not None]
    parts = towers if len(towers) == 1 else [model]
    return bool(recipe.guard) or any(part.name is not None and part.pretrained for part in parts)


def _check_can_do_without(recipe: Recipe, lacking: Mapping[int, str]) -> None:
    """Refuse a run that chooses, or ends, by a guard that cannot be had."""
    key = "wise_ft" if recipe.wise_ft else "max_guard_drop"
    if lacking and (recipe.wise_ft or recipe.max_guard_drop is not None):
        raise UserError(
            f"{_cannot_be_had(recipe, lacking)}; {key} needs it. Get it once with a network, after which it is kept;"
            f" or give a guard on data of your own; or leave {key} out"
        )


def _cannot_be_had(recipe: Recipe, lacking: Mapping[int, str]) -> str:
    names = ", ".join(task.name or task.data.path for n, task in enumerate(recipe.guard) if n in lacking and task.data)
    return f"guard {names} cannot be had: {'; '.join(dict.fromkeys(lacking.values()))}"


def warn_of_no_guard(recipe: Recipe, lacking: Mapping[int, str]) -> list[str]:
    """Return a warning where a trained model is fine-tuned and too little looks at what it forgets.

    Args:
        recipe: the run.
        lacking: why the data of guards cannot be had, by their numbers in the recipe.
    """
    unseen = "what fine-tuning makes the model forget goes unseen"
    if not recipe.guard and recipe.model.name is not None and recipe.model.pretrained:
        return [f"no guard: {unseen}. Give, as guard, a task on other data that the model is good at"]
    if not lacking:
        return []
    is_all = len(lacking) == len(recipe.guard)
    so = f"there is no meaningful guard, and {unseen}" if is_all else "the others alone guard"
    return [f"{_cannot_be_had(recipe, lacking)}. Nothing is put in its place: {so}"]


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
