"""The tasks of a study: those of its suite and its own, opened and checked together."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias, get_args

from evaluation import RobustnessTask
from mmcl.data.benchmark_sets import copy_in, set_name
from mmcl.data.evaluation_rows import LazyPictures
from mmcl.errors import UnreachableError, UserError, did_you_mean
from mmcl.recipe_data import DEFAULT_MAX_PIXELS, SourceConfig
from mmcl.recipe_tasks import AnyTask, have_same_rows
from mmcl.study_config import StudyConfig
from mmcl.suites import load_suite
from mmcl.training.judge import AnyBuiltTask, OpenedRows, build_tasks, check_modalities
from mmcl.training.results import file_name

TASKS = {kind.model_fields["task"].default: kind for kind in get_args(get_args(AnyTask)[0])}
"""The kind of every task, by its name."""

SUITE = "suite "
"""What messages about tasks of a suite begin with."""


Asked: TypeAlias = tuple[str, AnyTask]
"""Where a task was asked for, for messages, and what was asked for."""


@dataclass(frozen=True)
class StudyTask:
    """One task of a study.

    Attributes:
        place: where it was asked for, such as ``evaluate.0`` or ``suite quick``, for messages.
        config: what was asked for, with the study's data, columns, limit and baselines.
        task: its rows opened.
    """

    place: str
    config: AnyTask
    task: AnyBuiltTask

    @property
    def file_name(self) -> str:
        """Of its result, without suffix."""
        return file_name(self.task.dataset, self.config.task)

    @property
    def pictures(self) -> list[LazyPictures]:
        """The sequences of pictures that it encodes."""
        # What robustness corrupts is made when it is asked for; it encodes the pictures as they are too.
        task = self.task.zeroshot if isinstance(self.task, RobustnessTask) else self.task
        values = [getattr(task, field.name) for field in fields(task)]
        return [value for value in values if isinstance(value, LazyPictures)]

    @property
    def is_partial(self) -> bool:
        """It judges on the first rows of its data only."""
        return self.config.data is not None and self.config.data.limit is not None


def open_study_tasks(
    study: StudyConfig, asked: Sequence[Asked], tell: Callable[[str], None], problems: list[UserError]
) -> list[StudyTask]:
    """Open the rows of tasks; rows that several share are opened once.

    Args:
        study: whose columns they have.
        asked: from `asked_tasks`.
        tell: called with a line for each data set of which rows had to be left out.
        problems: is filled with what is wrong with single tasks; those are left out.
    """
    opened = OpenedRows(study.columns, DEFAULT_MAX_PIXELS, tell, "evaluate")
    found: list[StudyTask] = []
    files: dict[str, str] = {}
    for number, (place, config) in enumerate(asked):
        try:
            config = _from_root(config, study.dataset_root, f"evaluate.{number}")
            (task,) = build_tasks([config], study.columns, opened=opened, first=number, tell=tell)
            one = StudyTask(place, config, task)
            if one.file_name in files:
                raise UserError(
                    f"{place}: {files[one.file_name]} is a task of kind {config.task} on data of that name too, and "
                    f"their results would be one; give each a name"
                )
        except UserError as error:
            problems.append(type(error)(re.sub(r"^evaluate\.\d+", place, str(error))))
            continue
        files[one.file_name] = place
        found.append(one)
    return found


def asked_tasks(study: StudyConfig) -> list[Asked]:
    """Return the tasks that a study asks for with their places, the study's own first.

    Raises:
        UserError: a suite or a task that there is not, tasks without data, or a filter that leaves nothing.
    """
    own = [(f"evaluate.{number}", config) for number, config in enumerate(study.evaluate)]
    if study.tasks is not None:
        for name in study.tasks:
            if name not in TASKS:
                raise UserError(
                    f'tasks: unknown task "{name}" (known: {", ".join(TASKS)}).{did_you_mean(name, list(TASKS))}'
                )
        if not own and study.suite is None:
            own = [(f"tasks.{number}", TASKS[name]()) for number, name in enumerate(study.tasks)]
    asked = [(place, _completed(config, study, place)) for place, config in own] + _of_suite(study)
    kept = [(place, config) for place, config in asked if study.tasks is None or config.task in study.tasks]
    if not kept:
        raise UserError(f"tasks: there is none of kind {', '.join(study.tasks or ())} among those asked for")
    return kept


def _completed(config: AnyTask, study: StudyConfig, place: str) -> AnyTask:
    if config.data is None and study.data is None:
        raise UserError(f"{place}: {config.task} has no rows to judge on; give it data, or the study")
    if config.data is None and study.data is not None:
        for field in ("train", "gallery"):
            other: SourceConfig | None = getattr(config, field, None)
            if other is not None and have_same_rows(other, study.data):
                raise UserError(f"{place}.{field}: these are the rows judged on, the study's data; give others")
        config = config.model_copy(update={"data": study.data})
    return _limited(config, study)


def _of_suite(study: StudyConfig) -> list[Asked]:
    if study.suite is None:
        return []
    suite = load_suite(study.suite)
    return [
        (f"{SUITE}{suite.name}: evaluate.{number}", _limited(config, study))
        for number, config in enumerate(suite.evaluate)
    ]


def _from_root(config: AnyTask, root: str | None, key: str) -> AnyTask:
    """Return a task whose data, where they are a set of CLIP_benchmark's, are read from a copy of it.

    Raises:
        UnreachableError: there is no copy.
    """
    changes: dict[str, object] = {}
    for field in ("data", "train", "gallery"):
        source: SourceConfig | None = getattr(config, field, None)
        if root is None or source is None or (name := set_name(source.path)) is None:
            continue
        copy = copy_in(root, name)
        if not copy.is_dir():
            raise UnreachableError(f"{key}.{field}.path: {source.path} is not in dataset_root: there is no {copy}")
        changes[field] = source.model_copy(update={"path": str(copy)})
        if field == "data":
            changes["name"] = config.name or name
    return config.model_copy(update=changes)


def _limited(config: AnyTask, study: StudyConfig) -> AnyTask:
    """Return a task with the study's limit, where its own is no lower, and with baselines, where they are asked for."""
    assert config.data is not None
    changes: dict[str, object] = {}
    if study.limit is not None:
        limit = min(study.limit, config.data.limit or study.limit)
        changes["data"] = config.data.model_copy(update={"limit": limit})
    if study.baselines and "baselines" in type(config).model_fields:
        changes["baselines"] = True
    return config.model_copy(update=changes)


def different_pictures(tasks: Sequence[StudyTask]) -> list[LazyPictures]:
    """Return the sequences of pictures that tasks encode, each once."""
    return list({id(images): images for one in tasks for images in one.pictures}.values())


def check_towers(asked: Sequence[Asked], whose: str, modalities: Sequence[str]) -> list[UserError]:
    """Return a mistake for every task that a model has no tower for, with ``whose`` before it."""
    wrong = []
    for place, config in asked:
        try:
            check_modalities([config], modalities)
        except UserError as error:
            wrong.append(UserError(whose + str(error).replace("evaluate.0", place)))
    return wrong
