"""pydantic's findings, said in the words of a recipe and where the recipe says them."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mmcl.errors import did_you_mean
from mmcl.guards import named_guards
from mmcl.recipe import Recipe
from mmcl.recipe_sections import (
    SHORT_FORMS,
    Sections,
    fields_of,
    narrow,
    paths_of_fields,
    sections_at,
    sections_in,
    tag_of,
)
from mmcl.recipe_yaml import KeyPath, Node, Problem, dotted

_NUM_KEYS_SHOWN = 12
_NUM_CHARACTERS_SHOWN = 60

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "short": "text or a mapping",
}
"""What a value must be, by the first word of pydantic's error type."""

_WRONG_KIND = re.compile(rf"({'|'.join(_KINDS)})_(attributes_)?(type|parsing|from_float|number)$")
_BOUNDS = {"greater_than": ">", "greater_than_equal": ">=", "less_than": "<", "less_than_equal": "<="}
_LENGTHS = {"too_short", "too_long"}


def problems_in(error: ValidationError, root: Node, whole: Sections = ()) -> list[Problem]:
    """Explain a failed validation of ``root.plain()``, in the order in which things stand in the files.

    ``whole`` is what it was to be, by default a recipe.

    One mistake is one problem: what pydantic says of the other branches of a union, or of a list because of its items,
    is left out.
    """
    found = [(_path_in(details, root), details) for details in error.errors(include_url=False)]
    explained: list[tuple[KeyPath, str]] = []
    for path, details in found:
        others = [(other, kind["type"]) for other, kind in found if kind is not details]
        if not _is_echo(path, details["type"], others):
            explained.append((path, _message(path, details, root, whole)))
    return _joined(explained, root)


def _path_in(details: ErrorDetails, root: Node) -> KeyPath:
    """Return where the recipe has the mistake: pydantic's location without the names of a union's branches."""
    location = details["loc"]
    path: KeyPath = ()
    for position, key in enumerate(location):
        node = root.nearest(path)
        is_missing_key = details["type"] == "missing" and isinstance(key, str) and position == len(location) - 1
        if node.child(key) is not None or is_missing_key:
            path = (*path, key)
    return path


def _is_echo(path: KeyPath, kind: str, others: Sequence[tuple[KeyPath, str]]) -> bool:
    """True for an error that only follows from another one at the same place or below it."""
    if kind == "literal_error" and any(other == path and other_kind in _BOUNDS for other, other_kind in others):
        return True  # a number out of its range, where a word may stand as well
    is_wrong_kind = bool(_WRONG_KIND.match(kind))
    if is_wrong_kind and any(other == path and not _WRONG_KIND.match(other_kind) for other, other_kind in others):
        return True
    return (is_wrong_kind or kind in _LENGTHS) and any(
        len(other) > len(path) and other[: len(path)] == path for other, _ in others
    )


def _joined(explained: Sequence[tuple[KeyPath, str]], root: Node) -> list[Problem]:
    """Join ``must be a mapping, got 1`` and ``must be a number, got 1``, said of one value by two branches."""
    messages: dict[KeyPath, list[str]] = {}
    for path, message in explained:
        messages.setdefault(path, [])
        if message not in messages[path]:
            messages[path].append(message)
    problems = []
    for path, said in messages.items():
        origin = root.nearest(path).origin
        kinds = [message.split(", got ")[0].removeprefix("must be ") for message in said]
        if len(said) > 1 and all(kind in _KINDS.values() for kind in kinds):
            said = [f"must be {' or '.join(kinds)}, got {show(root.nearest(path).plain())}"]
        problems += [Problem(origin, path, message) for message in said]
    return sorted(problems, key=lambda problem: (problem.origin.layer, problem.origin.line or 0))


def _message(path: KeyPath, details: ErrorDetails, root: Node, whole: Sections) -> str:
    kind, context = details["type"], details.get("ctx", {})
    node = root.nearest(path)
    if kind == "extra_forbidden":
        return _unknown_key(path, root, whole)
    if kind == "missing" and not isinstance(node.value, list):
        return "is required"
    if kind in {"missing", *_LENGTHS}:  # pydantic calls the absent entries of a pair missing
        return _wrong_length(path, root, whole)
    if kind in {"literal_error", "union_tag_invalid"}:
        is_guard = kind == "union_tag_invalid" and path[:1] == ("guard",)
        return _unknown_name(node, context, named_guards() if is_guard else ())
    if kind == "union_tag_not_found":
        return _missing_tag(path, root, whole)
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        (bound,) = context.values()
        return f"must be {_BOUNDS[kind]} {bound:g}, got {show(node.plain())}"
    wrong = _WRONG_KIND.match(kind)
    if wrong:
        return _wrong_kind(wrong[1], path, root, whole)
    return f"{details['msg'].replace('Input should be', 'must be')}, got {show(node.plain())}"


def _wrong_kind(kind: str, path: KeyPath, root: Node, whole: Sections) -> str:
    value = root.nearest(path).plain()
    sections = sections_at(path, root, whole)
    if kind == "model" and any(section in SHORT_FORMS or tag_of(section) for section in sections):
        kind = "short"
    quoted = " (in quotes it is text)" if kind == "string" and isinstance(value, (int, float)) else ""
    return f"must be {_KINDS[kind]}, got {show(value)}{quoted}"


def _unknown_key(path: KeyPath, root: Node, whole: Sections) -> str:
    known = list(fields_of(sections_at(path[:-1], root, whole)))
    key = str(path[-1])
    hint = did_you_mean(key, known)
    elsewhere = [other for other in paths_of_fields(whole or (Recipe,)) if other[-1] == key]
    if elsewhere and not hint:
        nearest = max(elsewhere, key=lambda other: _num_shared(other, path))
        hint = f' Did you mean "{dotted(nearest)}"?'
    listed = f" ({', '.join(known)})" if len(known) <= _NUM_KEYS_SHOWN and not hint else ""
    return f"unknown key{listed}.{hint}"


def _num_shared(path: KeyPath, other: KeyPath) -> int:
    """Return how many keys two paths have in common from the start."""
    return next((i for i, (a, b) in enumerate(zip(path, other, strict=False)) if a != b), min(len(path), len(other)))


def _wrong_length(path: KeyPath, root: Node, whole: Sections) -> str:
    value = root.nearest(path).plain()
    field = fields_of(sections_at(path[:-1], root, whole)).get(str(path[-1]))
    length = _fixed_length(field.annotation) if field else None
    if length is not None:
        return f"must have {length} entries, got {len(value)}: {show(value)}"
    return "must have at least one entry" if not value else f"has too few or too many entries: {show(value)}"


def _fixed_length(annotation: Any) -> int | None:
    """Return 2 for ``tuple[float, float] | None``; None for what may have any length."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return None if Ellipsis in parts else len(parts)
    return next(filter(None, map(_fixed_length, parts)), None)


def _unknown_name(node: Node, context: dict[str, Any], others: Iterable[str]) -> str:
    known = [*re.findall(r"'([^']*)'", context.get("expected_tags") or context["expected"]), *others]
    tag = node.child(context.get("discriminator", "").strip("'"))
    value = (tag or node).plain()
    if not isinstance(value, str):
        return f"must be one of {', '.join(known)}, got {show(value)}"
    return f'unknown name "{value}" ({", ".join(known)}).{did_you_mean(value, known)}'


def _missing_tag(path: KeyPath, root: Node, whole: Sections) -> str:
    tags = [tag for tag in map(tag_of, sections_at(path, root, whole)) if tag]
    return f"needs {tags[0][0]}, one of {', '.join(value for _, value in tags)}"


def misplaced_booleans(node: Node, sections: Sections = (Recipe,), path: KeyPath = ()) -> Iterator[Problem]:
    """Yield every true or false that stands for a number. pydantic would read ``horizontal_flip: true`` as 1."""
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from misplaced_booleans(item, sections, (*path, index))
    if not isinstance(node.value, dict):
        return
    fields = fields_of(narrow(sections, node))
    for key in node.value.keys() & fields.keys():
        child, annotation = node.value[key], fields[key].annotation
        if isinstance(child.value, bool):
            if _is_for_numbers(annotation):
                yield Problem(child.origin, (*path, key), f"must be a number, got {show(child.value)}")
        else:
            yield from misplaced_booleans(child, sections_in(annotation), (*path, key))


def _is_for_numbers(annotation: Any) -> bool:
    parts = {annotation, *(part for outer in typing.get_args(annotation) for part in (outer, *typing.get_args(outer)))}
    return not parts.isdisjoint({int, float}) and bool not in parts


def show(value: Any) -> str:
    """Return a value as a recipe would write it, cut to one short line."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = repr(value)
    return text if len(text) <= _NUM_CHARACTERS_SHOWN else f"{text[:_NUM_CHARACTERS_SHOWN]}..."
