"""Shards as webdataset names them: ``train-{00000..00127}.tar``."""

from __future__ import annotations

import re
from itertools import product

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_braces(pattern: str) -> list[str]:
    """Return every name that a pattern of braces stands for, in order, as a shell does; the pattern itself without any.

    ``{008..010}`` is 008, 009, 010, with as many digits as are written; ``{a,b}`` is a, b. Other braces are left alone.
    """
    pieces = _BRACES.split(pattern)  # text and what stands in braces, in turns
    return [
        "".join(chosen)
        for chosen in product(*(_choices(piece, number % 2 == 1) for number, piece in enumerate(pieces)))
    ]


def _choices(piece: str, is_in_braces: bool) -> list[str]:
    if not is_in_braces:
        return [piece]
    if found := _RANGE.fullmatch(piece):
        first, last = found.groups()
        width = len(first) if len(first) == len(last) else 0
        return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    return piece.split(",") if "," in piece else [f"{{{piece}}}"]
