"""How a recipe is laid over its base, and an override over both.

Mappings merge key by key; lists and scalars replace. An override is a recipe of one line. Short forms are written out
first, so that ``data: x.csv`` over a base keeps the base's ``data.columns``. Five things don't mix with what they
replace, and push it out:

- another way to name a model (``name``, ``config``, or ``image`` and ``text``) pushes out the others, and another
  ``name`` the tokenizer of the old one;
- another ``path`` of a source pushes out the old source's format, split and so on, and another ``task``, ``type`` or
  ``model_type`` the fields of the old one;
- ``anchor`` among the columns pushes out ``text``, whose other name it is, and the other way round;
- an ``image_size`` pushes out the ``resize_to`` that went with the old one;
- another ``optimizer`` pushes out what it does not have, such as AdamW's ``betas``;
- a recipe's ``name`` and ``description`` are its own, never its base's.

Nothing is pushed out by its own layer: ``data.train.split=x data.train.path=y`` means the same in either order, and a
recipe that names its model in two ways is told so.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence

from mmcl.errors import UserError
from mmcl.recipe import OPTIMIZER_FIELDS, Recipe
from mmcl.recipe_data import ColumnsConfig
from mmcl.recipe_model import ImageTowerConfig, ModelConfig, TextTowerConfig
from mmcl.recipe_sections import Sections, expand, expand_item, fields_of, is_list, narrow, sections_at, sections_in
from mmcl.recipe_yaml import OVERRIDE, KeyPath, Node, Origin, Problem, at_origin, dotted, read_value

_KINDS: dict[type, tuple[frozenset[str], ...]] = {
    ModelConfig: (frozenset({"name"}), frozenset({"config", "tokenizer"}), frozenset({"image", "text"})),
    ImageTowerConfig: (frozenset({"name"}), frozenset({"config"})),
    TextTowerConfig: (frozenset({"name"}), frozenset({"config", "tokenizer"})),
    ColumnsConfig: (frozenset({"text"}), frozenset({"anchor"})),
}
"""The ways to name a model, or the captions, each with the fields that make no sense with another."""

_IDENTITIES = ("path", "task", "type", "model_type")


def merge(base: Node, over: Node, sections: Sections = (Recipe,)) -> Node:
    """Lay ``over`` over ``base``, both with their short forms written out."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    sections = narrow(narrow(sections, over), base)
    out = _pushed_out(base.value, over.value, sections)
    entries = {
        key: node for key, node in base.value.items() if key not in out or node.origin.layer >= over.origin.layer
    }
    fields = fields_of(sections)
    for key, node in over.value.items():
        inner = sections_in(fields[key].annotation) if key in fields else ()
        entries[key] = merge(entries[key], node, inner) if key in entries else node
    return Node(entries, over.origin)


def _pushed_out(base: Mapping[str, Node], over: Mapping[str, Node], sections: Sections) -> set[str]:
    """Return the keys of ``base`` that can't stand beside what ``over`` says."""
    for identity in _IDENTITIES:
        if identity in base and identity in over and base[identity].value != over[identity].value:
            return set(base)
    own = OPTIMIZER_FIELDS.get(str(over["optimizer"].value)) if "optimizer" in over else None
    if own is not None and Recipe in sections:
        return {name for fields in OPTIMIZER_FIELDS.values() for name in fields if name not in own}
    resized = {"resize_to"} if ImageTowerConfig in sections and "image_size" in over else set()
    if "name" in base and "name" in over and base["name"].value == over["name"].value:
        return resized
    kinds = [kind for section in sections for kind in _KINDS.get(section, ())]
    named = [kind for kind in kinds if over.keys() & (kind - {"tokenizer"})]
    return resized | {key for kind in kinds if named and kind not in named for key in kind}


def apply_overrides(root: Node, overrides: Sequence[str] | Mapping[str, object]) -> tuple[Node, list[Problem]]:
    """Lay overrides over a recipe, in order.

    Args:
        root: with its short forms written out.
        overrides: lines ``key.path=value`` (a list position is a number: ``evaluate.0.data.split=train``), or a
            mapping of key paths to Python values.

    Returns:
        The new root and the overrides that could not be placed. An unknown key is placed all the same: the whole
        recipe is checked later.
    """
    problems: list[Problem] = []
    for key, value, found in _read_overrides(overrides):
        problems += found
        if found:
            continue
        try:
            root = merge(root, expand(_wrap(root, (), key.split("."), value)))
        except UserError as error:
            problems.append(Problem(value.origin, (), str(error)))
    return root, problems


def _read_overrides(
    overrides: Sequence[str] | Mapping[str, object],
) -> Iterator[tuple[str, Node, list[Problem]]]:
    """Yield key, value, and what is wrong with either."""
    if isinstance(overrides, Mapping):
        for key, given in overrides.items():
            yield key, at_origin(given, Origin(f"override {key}={given}", None, OVERRIDE)), []
        return
    for line in [overrides] if isinstance(overrides, str) else overrides:
        key, equals, text = line.partition("=")
        value, problems = read_value(text, f"override {line}")
        if not key or not equals:
            problems = [Problem(value.origin, (), "must be written key=value, for example lr=1e-4")]
        elif key == "base":
            problems = [Problem(value.origin, (), "a base can only be given in a recipe's file")]
        yield key, value, problems


def _wrap(root: Node, here: KeyPath, keys: Sequence[str], value: Node) -> Node:
    """Return what holds only ``value``, at ``keys`` below ``here``. A list on the way is copied from ``root`` with one
    item changed, because lists replace each other."""
    if not keys:
        return value
    key, *rest = keys
    items = _list_at(root, here) if key.isascii() and key.isdigit() else None
    if items is None:
        return Node({key: _wrap(root, (*here, key), rest, value)}, value.origin)
    index = int(key)
    if index >= len(items):
        raise UserError(f"{dotted(here)} has no entry {index}; it has {len(items)}, counted from 0")
    sections = sections_at(here, root)
    inner = _wrap(root, (*here, index), rest, value)
    changed = expand(inner if rest else expand_item(inner, sections), sections)
    return Node([*items[:index], merge(items[index], changed, sections), *items[index + 1 :]], value.origin)


def _list_at(root: Node, path: KeyPath) -> list[Node] | None:
    """Return the list at ``path``, or what it is by default; None where there is no list."""
    node = root
    for key in path:
        child = node.child(key)
        if child is None:
            return _default_list(root, path)
        node = child
    return node.value if isinstance(node.value, list) else None


def _default_list(root: Node, path: KeyPath) -> list[Node] | None:
    field = fields_of(sections_at(path[:-1], root)).get(str(path[-1]))
    default = field.get_default(call_default_factory=True) if field else None
    if field and default is None and is_list(field.annotation):
        raise UserError(f"{dotted(path)} is null, which has no entries: write {dotted(path)}=[...], all of it")
    if not isinstance(default, (list, tuple)):
        return None
    origin = Origin(f"the default of {dotted(path)}", None, 0)
    node = expand(at_origin(default, origin), sections_in(field.annotation) if field else ())
    return typing.cast("list[Node]", node.value)
