"""YAML that remembers where every value was written.

The types are YAML's safe ones that JSON has too, with three deviations from PyYAML's reading: ``1e-5`` is a number,
a date stays text, and keys are always text as written (so that a label may be called ``no`` or ``007``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel

from mmcl.errors import UserError

Scalar: TypeAlias = str | int | float | bool | None
KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value is in a recipe: keys and list positions."""

BASE, FILE, OVERRIDE = range(3)

_NUM_NODES_MAX = 100_000
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset(_TAG + kind for kind in ("int", "float", "bool", "null"))
_TEXT_TAGS = frozenset(_TAG + kind for kind in ("str", "value", "merge"))  # as values, = and << are text
_EXPONENT = re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")


@dataclass(frozen=True)
class Origin:
    """Where a value was written.

    Attributes:
        source: a file as the user named it, or ``override lr=1``.
        line: counted from 1, shown for files only; None for the whole.
        layer: ``BASE``, ``FILE`` or ``OVERRIDE``; a higher one wins.
    """

    source: str
    line: int | None = None
    layer: int = FILE

    def __str__(self) -> str:
        return self.source if self.line is None or self.layer == OVERRIDE else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Node:
    """A value of a recipe and where it was written; for an entry of a mapping, the line of its key."""

    value: dict[str, Node] | list[Node] | Scalar
    origin: Origin

    def plain(self) -> Any:
        """Return the value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """Return the entry ``key`` of a mapping or list, or None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(str(key))
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None

    def is_of_one_place(self) -> bool:
        """True when everything in it was given where it was."""
        if not isinstance(self.value, (dict, list)):
            return True
        children = self.value.values() if isinstance(self.value, dict) else self.value
        return all(child.origin == self.origin and child.is_of_one_place() for child in children)

    def nearest(self, path: KeyPath) -> Node:
        """Return the node at ``path``, or the last one on the way to it."""
        node = self
        for key in path:
            child = node.child(key)
            if child is None:
                break
            node = child
        return node


@dataclass(frozen=True)
class Problem:
    """One mistake in a recipe: ``products.yaml:6 data.columns.txt: unknown key.``"""

    origin: Origin
    path: KeyPath
    message: str

    def __str__(self) -> str:
        name = dotted(self.path)
        said = not name or self.origin.source.startswith(f"override {name}=")
        return f"{self.origin}: {self.message}" if said else f"{self.origin} {name}: {self.message}"


def dotted(path: KeyPath) -> str:
    """Return ``data.columns.text`` for ``("data", "columns", "text")``."""
    return ".".join(map(str, path))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe types without dates, and with ``1e-5`` as the number it looks like."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}float", _EXPONENT, list("-+.0123456789"))


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either reading, PyYAML's or ours, would not take for text."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(f"{_TAG}float", _EXPONENT, list("-+.0123456789"))


def write_yaml(value: Any) -> str:
    """Return ``value`` (dicts, lists, scalars) as YAML that `read_yaml` reads back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def read_yaml(text: str, source: str, layer: int = FILE) -> tuple[Node, list[Problem]]:
    """Parse ``text``; nothing at all is an empty mapping.

    Returns:
        The root and the mistakes that don't stop the reading: duplicate keys, foreign tags, keys that are not text.

    Raises:
        UserError: when ``text`` is not one YAML document.
    """
    try:
        loader = _Loader(text)
        return _Reader(loader, source, layer).read(loader.get_single_node())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise UserError(f"{Origin(source, line, layer)}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{source}: not a recipe: nested too deeply") from None


class _Reader:
    """Turns PyYAML's nodes into ours."""

    def __init__(self, loader: _Loader, source: str, layer: int) -> None:
        self.loader, self.source, self.layer = loader, source, layer
        self.problems: list[Problem] = []
        self.num_nodes = 0
        self.checked: set[int] = set()

    def read(self, root: yaml.Node | None) -> tuple[Node, list[Problem]]:
        if root is None:
            return Node({}, Origin(self.source, None, self.layer)), []
        return self.node(root, self.origin(root), ()), self.problems

    def origin(self, node: yaml.Node) -> Origin:
        return Origin(self.source, node.start_mark.line + 1, self.layer)

    def node(self, node: yaml.Node, origin: Origin, path: KeyPath) -> Node:
        self.num_nodes += 1
        # Aliases are expanded, and a few lines of nested ones would fill the memory.
        if self.num_nodes > _NUM_NODES_MAX:
            raise UserError(f"{self.source}: not a recipe: more than {_NUM_NODES_MAX:,} values")
        if isinstance(node, yaml.MappingNode):
            return Node(self.mapping(node, path), origin)
        if isinstance(node, yaml.SequenceNode):
            items = [self.node(item, self.origin(item), (*path, index)) for index, item in enumerate(node.value)]
            return Node(items, origin)
        if node.tag in _TEXT_TAGS:
            return Node(node.value, origin)
        if node.tag not in _SCALAR_TAGS:
            self.problems.append(Problem(origin, path, f"the YAML tag {node.tag} is not allowed"))
            return Node(None, origin)
        try:
            return Node(self.loader.construct_object(node), origin)
        except ValueError:
            self.problems.append(
                Problem(origin, path, f"cannot be read as {node.tag.removeprefix(_TAG)}: {node.value}")
            )
            return Node(None, origin)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Node]:
        if id(node) not in self.checked:
            self.checked.add(id(node))
            self.find_duplicates(node, path)
            self.loader.flatten_mapping(node)  # the merge key <<; what it brings stands first and is overwritten
        entries: dict[str, Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                entries[key.value] = self.node(value, self.origin(key), (*path, key.value))
            else:
                self.problems.append(Problem(self.origin(key), path, "a key must be text"))
        return entries

    def find_duplicates(self, node: yaml.MappingNode, path: KeyPath) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                message = f"the key is given twice, first in line {lines[key.value]}"
                self.problems.append(Problem(self.origin(key), (*path, key.value), message))
            lines.setdefault(key.value, key.start_mark.line + 1)


def read_value(text: str, source: str) -> tuple[Node, list[Problem]]:
    """Parse the value of an override: YAML where it starts with a bracket, a brace or a quote; else one word or
    phrase, which may be a number, true, false or null, and in which no character is special (``data=*.csv``)."""
    origin = Origin(source, None, OVERRIDE)
    if text.lstrip()[:1] in {"[", "{", '"', "'"}:
        try:
            return read_yaml(text, source, OVERRIDE)
        except UserError as error:
            return Node(None, origin), [Problem(origin, (), str(error).removeprefix(f"{source}: "))]
    loader = _Loader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        value = text if tag in _TEXT_TAGS else loader.construct_object(yaml.ScalarNode(tag, text))
    except ValueError:
        value = text
    return Node(value, origin), []


def at_origin(value: Any, origin: Origin) -> Node:
    """Return Python values as nodes that were all written at ``origin``."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, Mapping):
        return Node({str(key): at_origin(item, origin) for key, item in value.items()}, origin)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return Node([at_origin(item, origin) for item in value], origin)
    return Node(value, origin)
