"""Lists of tasks with data of their own: those that come with the package, and a user's.

A suite is a YAML file of two keys, ``description`` and ``evaluate``, which are those of a recipe.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

import evaluation
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe import Recipe
from mmcl.recipe_errors import misplaced_booleans, problems_in
from mmcl.recipe_sections import expand
from mmcl.recipe_tasks import AnyTask
from mmcl.recipe_yaml import FILE, Node, Problem, read_yaml

_KEYS = ("description", "evaluate")
_FOLDER = Path(evaluation.__file__).parent / "suites"


@dataclass(frozen=True)
class Suite:
    """Tasks to judge a model by.

    Attributes:
        name: what to type for it.
        description: one line.
        evaluate: the tasks, each with data of its own.
    """

    name: str
    description: str
    evaluate: tuple[AnyTask, ...]


def load_suite(name_or_path: str) -> Suite:
    """Read a suite.

    Args:
        name_or_path: a packaged name, such as ``quick``, or a ``.yaml`` file.

    Raises:
        UserError: there is no such suite, with the nearest; or all mistakes of the file at once, one line each.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        path = _FOLDER / f"{name_or_path}.yaml"
        if name_or_path not in suite_names():
            raise UserError(
                f'no suite "{name_or_path}": packaged are {", ".join(suite_names())}; a path ends in .yaml.'
                f"{did_you_mean(name_or_path, suite_names())}"
            )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise UserError(f"cannot read {os.fspath(path)}: {reason}") from None
    root, problems = read_yaml(text, os.fspath(path), FILE)
    return _checked(root, problems, name_or_path)


def suite_names() -> tuple[str, ...]:
    """Return the packaged suites."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.yaml")))


def list_suites() -> list[Suite]:
    """Return the packaged suites, read."""
    return [load_suite(name) for name in suite_names()]


def _checked(root: Node, problems: list[Problem], name: str) -> Suite:
    if not isinstance(root.value, dict) or "evaluate" not in root.value:
        raise UserError(f"{root.origin.source}: a suite is a list of tasks, as evaluate: [...]")
    for key, node in root.value.items():
        if key not in _KEYS:
            problems.append(Problem(node.origin, (key,), f"unknown key; a suite has {' and '.join(_KEYS)}"))
    # A suite is checked as the part of a recipe that it is; what the recipe learns from is not looked at.
    whole = expand(
        Node({"data": Node("unused", root.origin), **{k: root.value[k] for k in _KEYS if k in root.value}}, root.origin)
    )
    problems = [*problems, *misplaced_booleans(whole)]
    recipe = None
    try:
        recipe = Recipe.model_validate(whole.plain())
        problems += _without_data(recipe, whole)
    except ValidationError as error:
        problems += problems_in(error, whole)
    if problems or recipe is None:
        raise UserError("\n".join(dict.fromkeys(map(str, problems))))
    return Suite(name, recipe.description, recipe.evaluate)


def _without_data(recipe: Recipe, whole: Node) -> list[Problem]:
    if not recipe.evaluate:
        return [Problem(whole.nearest(("evaluate",)).origin, ("evaluate",), "must have at least one task")]
    return [
        Problem(whole.nearest(path).origin, path, f"{task.task} needs data of its own in a suite")
        for number, task in enumerate(recipe.evaluate)
        if task.data is None and (path := ("evaluate", number))
    ]
