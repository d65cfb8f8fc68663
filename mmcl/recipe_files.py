"""Recipes as files: finding, reading, overriding, checking and writing them.

A recipe is named in one of three ways: ``clip/finetune``, which comes with the package; a file ending in ``.yaml`` or
``.yml``; or the folder of a run, which holds the run's whole recipe. A packaged name means the packaged recipe wherever
one stands, so that a folder of that name is written ``./quickstart``.

``base`` names the recipe to start from: a packaged one, or a path from the file that says so. A base has no base. How
the two and the overrides are put together is told in `mmcl.recipe_merge`. Every other path in a recipe starts from the
working folder, not from the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mmcl.errors import UserError, did_you_mean
from mmcl.packaged import packaged_folder
from mmcl.recipe import Recipe
from mmcl.recipe_errors import misplaced_booleans, problems_in
from mmcl.recipe_merge import apply_overrides, merge
from mmcl.recipe_schema import recipe_schema
from mmcl.recipe_sections import expand
from mmcl.recipe_yaml import BASE, FILE, KeyPath, Node, Origin, Problem, dotted, read_yaml, write_yaml

__all__ = [
    "FoundRecipe",
    "ListedRecipe",
    "LocatedRecipe",
    "dump_recipe",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "locate_recipe",
    "needs_of",
    "recipe_schema",
]

Overrides = Sequence[str] | Mapping[str, object]
_SUFFIXES = {".yaml", ".yml"}
_EXAMPLES = {"data": "products.csv", "model.image.name": "runs/simclr", "model.text.name": "runs/simcse"}
"""What a recipe may leave to be given, with an example of it."""


@dataclass(frozen=True)
class FoundRecipe:
    """A recipe's file.

    Attributes:
        path: where it is.
        name: what to type for it: ``clip/finetune``, ``products.yaml`` or ``runs/products``.
        is_packaged: it comes with mmcl.
    """

    path: Path
    name: str
    is_packaged: bool

    @property
    def run_name(self) -> str:
        """What a run of it is called, unless the recipe says otherwise."""
        return self.path.resolve().parent.name if self.path.name == "recipe.yaml" else self.path.stem

    @property
    def source(self) -> str:
        """How messages call the file."""
        return f"{self.name}.yaml" if self.is_packaged else str(self.path)


@dataclass(frozen=True)
class ListedRecipe:
    """One line of ``mmcl recipes list``.

    Attributes:
        name: what to type for it.
        description: one line.
        needs: the keys that it leaves open, such as ``data``: each must be given, or a recipe be based on it.
    """

    name: str
    description: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class LocatedRecipe:
    """A recipe that knows in which file and line, or in which override, each of its values was given."""

    recipe: Recipe
    root: Node

    def where(self, key: str) -> Origin | None:
        """Return where a key such as ``data.columns.text`` was given; None for what is nowhere given.

        For a key that is not there it is the place of what holds it, if that was given whole in one place.
        """
        path = _path(key)
        node = self.root.nearest(path)
        if node is self.root or (self.root.nearest(path[:-1]) is node and not node.is_of_one_place()):
            return None
        return node.origin

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Begin the message of a `UserError` raised inside with its place, where it begins with a key.

        ``data.columns.text: no column "titel"`` becomes ``products.yaml:6 data.columns.text: no column "titel"``.
        """
        try:
            yield
        except UserError as error:
            key, colon, message = str(error).partition(": ")
            origin = self.where(key) if colon else None
            if origin is None:
                raise
            raise UserError(str(Problem(origin, _path(key), message))) from error


def _path(key: str) -> KeyPath:
    return tuple(int(part) if part.isdigit() else part for part in key.split("."))


def load_recipe(name_or_path: str | os.PathLike[str], overrides: Overrides = ()) -> Recipe:
    """Read a recipe, its base and overrides into one, and check it.

    Args:
        name_or_path: a packaged name, a ``.yaml`` file, or a run's folder.
        overrides: lines ``key.path=value``, as the command line takes them, or a mapping of key paths to Python
            values; later ones win. A list position is a number: ``evaluate.0.data.split=train``.

    Returns:
        The recipe, its ``name`` that of the file unless it has one.

    Raises:
        UserError: all mistakes at once, one line each: ``products.yaml:6 data.columns.txt: unknown key. Did you mean
            "text"?``
    """
    return locate_recipe(name_or_path, overrides).recipe


def locate_recipe(name_or_path: str | os.PathLike[str], overrides: Overrides = ()) -> LocatedRecipe:
    """Do as `load_recipe`, and keep where everything was given, for errors that only the data can show.

    Raises:
        UserError: as `load_recipe`.
    """
    found = find_recipe(name_or_path)
    root, problems = _read_with_base(found)
    root, more = apply_overrides(root, overrides)
    recipe, rest = _check(root)
    seen = {problem.path for problem in [*problems, *more] if problem.path}
    problems = [*problems, *more, *(problem for problem in rest if problem.path not in seen)]
    if problems or recipe is None:
        needs = _needs(root)
        raise UserError("\n".join(dict.fromkeys(_line(problem, found, needs) for problem in problems)))
    return LocatedRecipe(recipe if recipe.name else recipe.model_copy(update={"name": found.run_name}), root)


def _check(root: Node) -> tuple[Recipe | None, list[Problem]]:
    problems = list(misplaced_booleans(root))
    booleans = {problem.path for problem in problems}
    try:
        return Recipe.model_validate(root.plain()), problems
    except ValidationError as error:
        problems += [problem for problem in problems_in(error, root) if problem.path not in booleans]
        return None, sorted(problems, key=lambda problem: (problem.origin.layer, problem.origin.line or 0))


def _line(problem: Problem, found: FoundRecipe, needs: Sequence[str]) -> str:
    missing = None
    if problem.path in {("data",), ("data", "train")} and problem.message == "is required":
        missing = "data"
    # A recipe of one's own may give a config as well; one that comes with the package is meant to be given a name.
    elif found.is_packaged and f"{dotted(problem.path)}.name" in needs:
        missing = f"{dotted(problem.path)}.name"
    if missing is None:
        return str(problem)
    name = found.name if " " not in found.name else f'"{found.name}"'
    return f"{found.source} {missing}: is required, for example: mmcl train {name} {missing}={_EXAMPLES[missing]}"


def _needs(root: Node) -> tuple[str, ...]:
    """Return the keys of `_EXAMPLES` that a recipe leaves open."""
    data, model = root.child("data"), root.child("model")
    needs = ["data"] if data is None or data.child("train") is None else []
    for tower in ("image", "text"):
        node = None if model is None else model.child(tower)
        if node is not None and isinstance(node.value, dict) and not node.value.keys() & {"name", "config"}:
            needs.append(f"model.{tower}.name")
    return tuple(needs)


def _read_with_base(found: FoundRecipe) -> tuple[Node, list[Problem]]:
    """Read a recipe over its base, short forms written out, and without the key ``base``."""
    root, problems = _read(found, FILE)
    base = root.child("base")
    root = _without(root, {"base"})
    if base is None:
        return root, problems
    try:
        base_found = _find_base(base, found)
    except UserError as error:
        raise UserError(str(Problem(base.origin, ("base",), str(error)))) from None
    base_root, base_problems = _read(base_found, BASE)
    second = base_root.child("base")
    if second is not None:
        base_problems.append(
            Problem(
                second.origin,
                ("base",),
                f"a base has no base, and {found.source} is based on it; start from this one's own base, or change a"
                " copy of it (mmcl recipes copy)",
            )
        )
    return merge(_without(base_root, {"base", "name", "description"}), root), [*base_problems, *problems]


def _read(found: FoundRecipe, layer: int) -> tuple[Node, list[Problem]]:
    try:
        text = found.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise UserError(f"cannot read {found.source}: {reason}") from None
    root, problems = read_yaml(text, found.source, layer)
    if root.value is None:
        root = Node({}, Origin(found.source, None, layer))
    if not isinstance(root.value, dict):
        raise UserError(f"{found.source}: a recipe is a mapping of keys to values, such as lr: 1e-4")
    return expand(root), problems


def _without(root: Node, keys: set[str]) -> Node:
    assert isinstance(root.value, dict)
    return Node({key: node for key, node in root.value.items() if key not in keys}, root.origin)


def _find_base(base: Node, child: FoundRecipe) -> FoundRecipe:
    if not isinstance(base.value, str):
        raise UserError("must be the name or the path of a recipe")
    if Path(base.value).suffix in _SUFFIXES:
        path = child.path.parent / Path(base.value).expanduser()
        if not path.is_file():
            raise UserError(f"no file {path}")
        return FoundRecipe(path, str(path), False)
    return _find_packaged(base.value)


def find_recipe(name_or_path: str | os.PathLike[str]) -> FoundRecipe:
    """Find the file of a recipe by its packaged name, its path, or the folder of its run.

    Raises:
        UserError: when there is none; it names the nearest.
    """
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    if path.suffix in _SUFFIXES:
        if path.is_file():
            return FoundRecipe(path, name, False)
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = did_you_mean(path.name, sorted(file.name for file in beside if file.suffix in _SUFFIXES))
        raise UserError(f"no recipe {name}: there is no such file.{near}")
    if name in _packaged():
        return _find_packaged(name)
    if (path / "recipe.yaml").is_file():
        return FoundRecipe(path / "recipe.yaml", name, False)
    if path.is_dir():
        raise UserError(f"{name} is a folder without a recipe.yaml, so it is no run")
    if path.is_file():
        raise UserError(
            f"{name} is no recipe, which ends in .yaml. To train on it: mmcl train clip/finetune data={name}"
        )
    families = {known.split("/")[0] for known in _packaged()}
    if path.parent.name and path.parent.is_dir() and path.parts[0] not in families:
        near = did_you_mean(path.name, sorted(folder.name for folder in path.parent.iterdir() if folder.is_dir()))
        raise UserError(f"no run {name}: there is no such folder.{near}")
    return _find_packaged(name)


def _packaged() -> dict[str, Path]:
    folder = packaged_folder("recipes")
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))}


def _find_packaged(name: str) -> FoundRecipe:
    known = _packaged()
    if name not in known:
        near = did_you_mean(name, known)
        raise UserError(f'no recipe "{name}": packaged are {", ".join(known)}; a path ends in .yaml.{near}')
    return FoundRecipe(known[name], name, True)


def list_recipes() -> list[ListedRecipe]:
    """Return the packaged recipes by name."""
    recipes = []
    for name in _packaged():
        root, _ = _read_with_base(_find_packaged(name))
        description = root.child("description")
        recipes.append(ListedRecipe(name, str(description.value) if description else "", _needs(root)))
    return recipes


def needs_of(name_or_path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the keys that a recipe leaves open, such as ``data``, before any override.

    Raises:
        UserError: there is no such recipe.
    """
    root, _ = _read_with_base(find_recipe(name_or_path))
    return _needs(root)


def dump_recipe(recipe: Recipe) -> str:
    """Return a whole recipe as YAML: every default written out, no base. It loads back equal."""
    return write_yaml(recipe.model_dump(mode="json"))
