"""What a study would do, found out before anything is loaded: all that is wrong with it in one message."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from evaluation.embedder import Embedder
from mmcl.errors import UnreachableError, UserError
from mmcl.model_facts import ModelFacts, look_at_model
from mmcl.study_config import StudyConfig
from mmcl.study_log import StudyLog
from mmcl.study_tasks import SUITE, Asked, StudyTask, asked_tasks, check_towers, different_pictures, open_study_tasks
from mmcl.towers.towers import MODALITIES

Judged: TypeAlias = str | os.PathLike[str] | Embedder
"""A model by its name, or any object with ``encode_images`` and ``encode_texts``."""

_BYTES_PER_EMBEDDING = 4 * 1024
"""Of float32, 1,024 wide: few models have wider ones."""


@dataclass(frozen=True)
class StudyPlan:
    """A study whose names, files and sizes have been looked at.

    Attributes:
        models: names, and objects as they were given.
        names: what to call each.
        facts: of those that can be opened.
        tasks: those whose rows can be opened.
        problems: all that is wrong.
        unreachable: why the data of some tasks of a suite cannot be had now, where that of others can.
    """

    models: tuple[str | Embedder, ...]
    names: tuple[str, ...]
    facts: tuple[ModelFacts, ...]
    tasks: tuple[StudyTask, ...]
    problems: tuple[str, ...]
    unreachable: tuple[UnreachableError, ...] = ()

    def refuse_problems(self) -> None:
        """Raise all problems as one.

        Raises:
            UserError: there are any.
        """
        if self.problems:
            raise UserError("\n".join(self.problems))

    @property
    def num_pictures(self) -> int:
        """How many pictures there are to decode."""
        return sum(len(images) for images in different_pictures(self.tasks))

    def lines(self) -> list[str]:
        """Return what would be done, in a few lines."""
        models = [
            f"{one.name}: {' and '.join(one.modalities)}"
            + (f", {one.num_bytes / 1e6:,.1f} MB" if one.num_bytes else "")
            for one in self.facts
        ]
        tasks = [f"{one.task.dataset} {one.config.task}" for one in self.tasks]
        return [
            _counted(len(self.names), "model"),
            *(f"  {line}" for line in models),
            _counted(len(self.tasks), "task"),
            *(f"  {line}" for line in tasks),
            f"{_counted(self.num_pictures, 'picture')}, {_counted(len(self.names) * len(self.tasks), 'result')}",
        ]


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def plan_study(study: StudyConfig, models: Sequence[Judged], tell: Callable[[str], None]) -> StudyPlan:
    """Look at every model, open the rows of every task, and see whether they fit; no weights are loaded.

    Args:
        study: all but its models.
        models: to judge.
        tell: called with a line for each data set of which rows had to be left out.
    """
    given = tuple(os.fspath(model) if isinstance(model, os.PathLike) else model for model in models)
    names = tuple(model if isinstance(model, str) else getattr(model, "name", type(model).__name__) for model in given)
    problems = [f'models: two are called "{name}"' for name in dict.fromkeys(names) if names.count(name) > 1]
    facts = []
    for name, model in zip(names, given, strict=True):
        try:
            facts.append(look_at_model(name) if isinstance(model, str) else _of_object(name, model))
        except UserError as error:
            problems.append(str(error))
    asked: list[Asked] = []
    tasks: list[StudyTask] = []
    wrong: list[UserError] = []
    try:
        asked = asked_tasks(study)
        tasks = open_study_tasks(study, asked, tell, wrong)
    except UserError as error:
        wrong.append(error)
    for one in facts:
        wrong += check_towers(asked, f"{one.name}: " if len(given) > 1 else "", one.modalities)
    # A suite names more than everybody has; with none of it there is nothing to judge.
    unreachable = [each for each in wrong if isinstance(each, UnreachableError) and str(each).startswith(SUITE)]
    if not tasks:
        unreachable = []
    problems += [str(each) for each in wrong if each not in unreachable]
    problems += _room_problems(study, tasks, len(given))
    if study.output is not None and study.limit is not None and StudyLog(Path(study.output)):
        problems.append(f"{study.output} holds results on all rows; give another output for limit {study.limit}")
    return StudyPlan(given, names, tuple(facts), tuple(tasks), tuple(dict.fromkeys(problems)), tuple(unreachable))


def _of_object(name: str, model: Embedder) -> ModelFacts:
    has = {"image": hasattr(model, "encode_images"), "text": hasattr(model, "encode_texts")}
    lacking = [each for each in ("name", "fingerprint") if not hasattr(model, each)]
    lacking += [] if any(has.values()) else ["encode_images", "encode_texts"]
    if lacking:
        raise UserError(
            f"models: {name} has no {', '.join(lacking)}; an object must have name, fingerprint, and encode_images,"
            " encode_texts or both"
        )
    own = getattr(model, "modalities", None) or [modality for modality in MODALITIES if has[modality]]
    return ModelFacts(name, tuple(modality for modality in MODALITIES if modality in own), 0)


def _room_problems(study: StudyConfig, tasks: Sequence[StudyTask], num_models: int) -> list[str]:
    """Return what is wrong with the folders that are written: no way to write them, or too little room."""
    found = []
    for key, folder in (("output", study.output), ("cache", study.cache_folder)):
        if folder is None:
            continue
        there = next(place for place in (Path(folder).absolute(), *Path(folder).absolute().parents) if place.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            found.append(f"{key}: cannot write {folder}: {there} is no folder that can be written")
            break  # the cache may be in the output
        if key == "cache":
            needed = sum(len(images) for images in different_pictures(tasks)) * num_models * _BYTES_PER_EMBEDDING
            free = shutil.disk_usage(there).free
            if needed > free:
                found.append(
                    f"cache: {folder} may need {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} are free; make room,"
                    " or keep none with cache: false"
                )
    return found
