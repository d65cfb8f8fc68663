"""Captions: which of them can be used, and which rows they make one group."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from mmcl.data.hashing import stable_id
from mmcl.data.templated import without_particulars
from mmcl.recipe_data import EqualTexts

NO_CAPTION = "the caption is missing or empty"


def normalise_text(text: str) -> str:
    """Return the text as it is compared: NFKC, case folded, every run of white space one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_key(text: str, equal_texts: EqualTexts = "normalised") -> str:
    """Return what a text is compared by: texts of equal key are the same, where any are.

    Args:
        text: any.
        equal_texts: ``templated`` compares what is left without numbers, addresses and names; else `normalise_text`
            says all.
    """
    if equal_texts == "templated":
        text = without_particulars(unicodedata.normalize("NFKC", text))
    return normalise_text(text)


def text_id(text: str, equal_texts: EqualTexts = "normalised") -> int:
    """Return the id of a text, ``0 <= id < 2**63``, equal for texts of equal `text_key`."""
    return stable_id("text:" + text_key(text, equal_texts))


def captions_of(value: Any) -> tuple[str, ...]:
    """Return the usable captions in a cell of the text column.

    Args:
        value: a string or a list of strings. Missing and blank ones are passed over.

    Raises:
        ValueError: none is left, or one is no string; the message is the reason.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    wrong = next((item for item in values if item is not None and not isinstance(item, str)), None)
    if wrong is not None:
        raise ValueError(f"the caption is {wrong!r}, which is no text")
    captions = tuple(item for item in values if item is not None and item.strip())
    if not captions:
        raise ValueError(NO_CAPTION)
    return captions


def group_id(
    group: Any,
    captions: Sequence[str],
    position: int,
    is_ungrouped: bool = False,
    scope: str = "",
    equal_texts: EqualTexts = "normalised",
) -> int:
    """Return the id of a row's group, ``0 <= id < 2**63``.

    Args:
        group: the row's group value; None and nan are none.
        captions: which make the group where there is no value. A row without captions is a group of its own.
        position: the row's, in its source.
        is_ungrouped: every row is a group of its own.
        scope: of the group values and positions: those of another scope are other groups. Equal captions are one group
            in all.
        equal_texts: when captions are equal; with ``never`` every row without a value is a group of its own.
    """
    if is_ungrouped:
        return stable_id(f"row:{position}", scope)
    if group is not None and group == group:
        return stable_id(group, scope)
    if not captions or equal_texts == "never":
        return stable_id(f"row:{position}", scope)
    return stable_id("text:" + "\n".join(text_key(caption, equal_texts) for caption in captions))
