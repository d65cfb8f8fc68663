"""Look at the first line of a csv file before anything is read by it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mmcl.errors import UserError

_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", ":": "colon", " ": "space"}
_LIKELY = (",", "\t", ";", "|")


def default_delimiter(file: Path) -> str:
    """Return a tab for ``.tsv``, else a comma."""
    return "\t" if file.suffix.lower() == ".tsv" else ","


def read_columns(file: Path, delimiter: str, key: str, names: Sequence[str] | None = None) -> list[str]:
    """Return the column names of a csv file.

    Args:
        file: a csv file in UTF-8.
        delimiter: one character.
        key: where the recipe names the file, such as ``data.train``.
        names: of the columns, where no line of the file holds them.

    Raises:
        UserError: the file is empty or not UTF-8, names a column twice, has more fields in its first row than columns,
            other than so many ``names``, or the delimiter does not fit: it gives one column where another gives
            several.
    """
    if len(delimiter) != 1:
        raise UserError(f"{key}.delimiter: one character, got {delimiter!r}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=delimiter)
            columns, first = next(reader, []), next(reader, [])
            others = {other: next(csv.reader(lines, delimiter=other), []) for other in _LIKELY if not lines.seek(0)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{key}.path: {file.name} is not csv text in UTF-8, save it as such: {error}") from error
    if not columns:
        raise UserError(f"{key}.path: {file.name} is empty")
    fitting = max(others, key=lambda other: len(others[other]))
    if len(columns) == 1 and len(others[fitting]) > 1:
        raise UserError(
            f"{key}.delimiter: {describe(delimiter)} gives one column in {file.name} ({columns[0]}); "
            f"{describe(fitting)} gives {len(others[fitting])} ({', '.join(others[fitting])}). "
            f'Set {key}.delimiter to "{fitting.encode("unicode_escape").decode()}"'
        )
    if names is not None:
        if len(names) != len(columns):
            raise UserError(
                f"{key}.column_names: {len(names)} names ({', '.join(names)}), and the first row of {file.name} has "
                f"{len(columns)} fields ({', '.join(columns)})"
            )
        return list(names)
    repeated = next((name for name in columns if columns.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f'{key}.path: {file.name} names the column "{repeated}" twice ({", ".join(columns)})')
    if len(first) > len(columns):  # pandas would take the first field for an index, and shift every other
        raise UserError(
            f"{key}.path: {file.name} names {len(columns)} columns and its first row has {len(first)} fields; "
            "a field that holds the delimiter must stand in quotes"
        )
    return columns


def describe(delimiter: str) -> str:
    """Return how to call a delimiter in a message."""
    name = _DELIMITERS.get(delimiter)
    return f"the {name}" if name in ("tab", "space") else f'the {name or "delimiter"} "{delimiter}"'
