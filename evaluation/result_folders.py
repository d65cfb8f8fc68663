"""Results of many models, found in folders of runs, of evaluations and of studies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluation.errors import EvaluationError
from evaluation.results import TaskResult

NOT_JUDGED = ("before", "model", "checkpoints")
"""Folders of a run in which no result of what it exports lies; ``before`` holds those of what it started from."""
_NOT_SETTINGS = ("seed", "name", "output_dir")
_KEYS = {"dataset", "model", "task", "metrics", "num_examples"}


@dataclass(frozen=True)
class _Found:
    """A result, the folder that was given, and the recipe of its run where there is one."""

    result: TaskResult
    folder: Path
    recipe: dict[str, Any] | None


def read_results(*folders: str | Path) -> dict[str, list[TaskResult]]:
    """Return the results below some folders, or in some files, by model.

    A model is called as its results call it, with its weights, its precision or the folder behind it where that tells
    several apart. Runs whose recipes differ in the seed alone are one model, of several runs, with the name of the
    first. Of a run's own folder, what it was before training is left out; give ``results/before`` to have that.

    Raises:
        EvaluationError: nothing there, no result in it, or several of one task by one model.
    """
    found = [one for folder in folders for one in _walk(Path(folder))]
    names = _names(found)
    models: dict[str, list[_Found]] = {}
    for one, name in zip(found, names, strict=True):
        models.setdefault(name, []).append(one)
    for name, several in models.items():
        _check_one_each(name, several)
    return {
        name: [one.result for member in members for one in models[member]]
        for name, members in _over_seeds(models).items()
    }


def _walk(folder: Path) -> Iterator[_Found]:
    if not folder.exists():
        raise EvaluationError(f"{folder}: no such file or folder")
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.json"))
    any_found = False
    for file in files:
        inside = file.relative_to(folder).parts[:-1]
        if set(inside) & set(NOT_JUDGED) or not _is_result(file):
            continue
        any_found = True
        result = TaskResult.read(file)
        yield _Found(result, folder, _recipe_of(file, folder, result))
    if not any_found:
        raise EvaluationError(f"{folder}: no results below it; mmcl train and mmcl evaluate --output write them")


def _is_result(file: Path) -> bool:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.keys() >= _KEYS


def _recipe_of(file: Path, folder: Path, result: TaskResult) -> dict[str, Any] | None:
    """Return the recipe of the run that a result lies in, or whose model it is of."""
    above = [parent for parent in file.parents if parent == folder or folder in parent.parents]
    for place in (*above, Path(result.model)):
        if (place / "recipe.yaml").is_file():
            try:
                recipe = yaml.safe_load((place / "recipe.yaml").read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                return None
            return recipe if isinstance(recipe, dict) else None
    return None


def _names(found: list[_Found]) -> list[str]:
    """Return the name of each result's model: as much as it takes to tell different models apart."""
    identities = [(one.result.model, one.result.fingerprint) for one in found]
    facts = {
        identity: (one.result.pretrained, one.result.precision, str(one.folder), one.result.fingerprint[:12])
        for identity, one in zip(identities, found, strict=True)
    }
    names = {identity: identity[0] for identity in identities}
    for number in range(4):
        for name in [name for name, count in Counter(names.values()).items() if count > 1]:
            alike = [identity for identity in names if names[identity] == name]
            if len({facts[identity][number] for identity in alike}) > 1:
                names |= {identity: f"{name}, {facts[identity][number]}" for identity in alike}
    return [names[identity] for identity in identities]


def _check_one_each(name: str, several: list[_Found]) -> None:
    tasks = Counter((one.result.dataset, one.result.task, one.result.split, one.result.language) for one in several)
    (dataset, task, *_), count = tasks.most_common(1)[0]
    if count > 1:
        folders = ", ".join(dict.fromkeys(str(one.folder) for one in several))
        raise EvaluationError(f"{name} has {count} results of {task} on {dataset} in {folders}; which one counts?")


def _over_seeds(models: dict[str, list[_Found]]) -> dict[str, list[str]]:
    """Return the names of models whose recipes differ in the seed alone, by the name of the first."""
    groups: dict[str, list[str]] = {}
    for name, several in models.items():
        recipe = several[0].recipe
        settings = name if recipe is None else json.dumps(_settings(recipe), sort_keys=True, default=str)
        groups.setdefault(settings, []).append(name)
    found: dict[str, list[str]] = {}
    for members in groups.values():
        seeds = [(models[name][0].recipe or {}).get("seed") for name in members]
        is_one = len(set(seeds)) == len(members)
        found |= {members[0]: members} if is_one else {name: [name] for name in members}
    return found


def _settings(recipe: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in _NOT_SETTINGS}
