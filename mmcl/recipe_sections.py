"""What a recipe's mappings are: which section a path leads to, and how its short form is written out."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic.fields import FieldInfo

from mmcl.recipe import Recipe
from mmcl.recipe_data import DataConfig, MixedSourceConfig, SourceConfig
from mmcl.recipe_model import ImageTowerConfig, ModelConfig, TextTowerConfig
from mmcl.recipe_yaml import KeyPath, Node
from mmcl.section import Section

SHORT_FORMS: dict[type[Section], str] = {
    ModelConfig: "name",
    ImageTowerConfig: "name",
    TextTowerConfig: "name",
    DataConfig: "train",
    SourceConfig: "path",
    MixedSourceConfig: "path",
}
"""Sections that may be written as one string, and the field that string is."""

Sections = tuple[type[Section], ...]


def sections_in(annotation: Any, in_lists: bool = True) -> Sections:
    """Return the sections that an annotation such as ``tuple[A | B, ...] | None`` speaks of; without ``in_lists`` those
    that need no list around them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    if typing.get_origin(annotation) is tuple and not in_lists:
        return ()
    return tuple(section for part in typing.get_args(annotation) for section in sections_in(part, in_lists))


def is_list(annotation: Any) -> bool:
    """True for a list of values, or null."""
    return any(typing.get_origin(part) is tuple for part in (annotation, *typing.get_args(annotation)))


def tag_of(section: type[Section]) -> tuple[str, str] | None:
    """Return the field and the value that tell a member of a union from the others, such as ``("task",
    "retrieval")``; None for a section that is no such member."""
    for name, field in section.model_fields.items():
        if typing.get_origin(field.annotation) is Literal and typing.get_args(field.annotation) == (field.default,):
            return name, field.default
    return None


def tag_field(sections: Sections) -> str | None:
    """Return the name of the field that tells ``sections`` apart, or None where nothing does."""
    return next((tag[0] for tag in map(tag_of, sections) if tag), None)


def narrow(sections: Sections, node: Node | None) -> Sections:
    """Keep the member that the tag in ``node`` names; all of them where it names none."""
    field = tag_field(sections)
    tag = node.child(field) if field and node else None
    return tuple(section for section in sections if tag and tag_of(section) == (field, tag.value)) or sections


def fields_of(sections: Sections) -> dict[str, FieldInfo]:
    """Return the fields that any of ``sections`` has."""
    return {name: field for section in sections for name, field in section.model_fields.items()}


def sections_at(path: KeyPath, root: Node, whole: Sections = ()) -> Sections:
    """Return what the mapping at ``path`` of ``root`` may be; empty for a free mapping or a scalar.

    ``whole`` is what ``root`` itself is, by default a recipe.
    """
    sections = whole or (Recipe,)
    for position, key in enumerate(path):
        if isinstance(key, str):
            field = fields_of(narrow(sections, root.nearest(path[:position]))).get(key)
            sections = sections_in(field.annotation) if field else ()
    return narrow(sections, root.nearest(path))


def paths_of_fields(sections: Sections = (Recipe,), prefix: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of every field of a recipe that no list stands before, parents first."""
    for name, field in fields_of(sections).items():
        yield (*prefix, name)
        yield from paths_of_fields(sections_in(field.annotation, in_lists=False), (*prefix, name))


def expand(node: Node, sections: Sections = (Recipe,)) -> Node:
    """Write out every short form below ``node``, so that recipes can be merged field by field.

    ``data: x.csv`` becomes ``data: {train: {path: x.csv}}``, and ``objectives: [{clip: 0.5}]`` becomes
    ``objectives: [{type: clip, weight: 0.5}]``. What is no short form of ``sections`` is returned as it is.
    """
    if isinstance(node.value, list):
        items = [expand_item(item, sections) for item in node.value]
        keep = () if MixedSourceConfig in sections else (str,)
        return Node([item if isinstance(item.value, keep) else expand(item, sections) for item in items], node.origin)
    if isinstance(node.value, str):
        for section in sections:
            if section in SHORT_FORMS and not (section is SourceConfig and node.value.endswith("%")):
                return expand(Node({SHORT_FORMS[section]: node}, node.origin), (section,))
        return node
    if not isinstance(node.value, dict):
        return node
    fields = fields_of(narrow(sections, node))
    entries = {
        key: expand(value, sections_in(fields[key].annotation)) if key in fields else value
        for key, value in node.value.items()
    }
    return Node(entries, node.origin)


def expand_item(item: Node, sections: Sections) -> Node:
    """Write out the short form of a member of a union: its tag, or for an objective ``{tag: weight or fields}``."""
    field = tag_field(sections)
    if field is None:
        return item
    if isinstance(item.value, str):
        return Node({field: item}, item.origin)
    if field != "type" or not isinstance(item.value, dict) or len(item.value) != 1 or field in item.value:
        return item
    ((name, rest),) = item.value.items()
    tag = Node(name, rest.origin)
    entries = rest.value if isinstance(rest.value, dict) else {"weight": rest}
    return Node({field: tag, **entries}, item.origin)
