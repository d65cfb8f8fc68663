"""Captions: which of them can be used, and which rows they make one group."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcl.data.columns import Roles
from mmcl.data.hashing import Int64Array, stable_id
from mmcl.data.quarantine import QuarantineRecord
from mmcl.data.sources import Source
from mmcl.errors import UserError

NO_CAPTION = "the caption is missing or empty"

_ROWS_AT_A_TIME = 10_000
_MOST_LONG_CAPTIONS = 20_000


def normalise_text(text: str) -> str:
    """Return the text as it is compared: NFKC, case folded, every run of white space one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


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


def group_id(group: Any, captions: Sequence[str]) -> int:
    """Return the id of a row's group, ``0 <= id < 2**63``: of its group value, else (None or nan) of its captions."""
    if group is None or group != group:
        return stable_id("text:" + "\n".join(map(normalise_text, captions)))
    return stable_id(group)


@dataclass
class RowScan:
    """What one look at the text and group columns of an indexed source tells.

    Attributes:
        group_ids: ``(N,)`` int64 group of every row; 0 where the row cannot be used.
        unusable: one record for each row without a usable caption.
        long_captions: captions of more bytes than were asked about, the first 20,000 of them.
        num_long_captions: all of them.
        num_captions: usable captions.
    """

    group_ids: Int64Array
    unusable: list[QuarantineRecord] = field(default_factory=list)
    long_captions: list[str] = field(default_factory=list)
    num_long_captions: int = 0
    num_captions: int = 0

    @property
    def is_usable(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """``(N,)`` bool."""
        usable = np.ones(len(self.group_ids), dtype=bool)
        usable[[record.sample_id for record in self.unusable]] = False
        return usable


def scan_rows(source: Source, roles: Roles, key: str, num_bytes: int | None = None) -> RowScan:
    """Read the text and group columns of an indexed source, but no picture.

    Args:
        source: an indexed source.
        roles: its columns; without a text column every row is usable, and is its own group unless a column says else.
        key: of the text column in the recipe, for the error.
        num_bytes: captions of more bytes of UTF-8 than this are kept in ``long_captions``; None keeps none.

    Raises:
        UserError: a csv file's caption column holds nothing but numbers.
    """
    scan = RowScan(np.zeros(len(source.dataset), dtype=np.int64))
    are_numbers = source.delimiter is not None and roles.text is not None
    for position, value, group in _cells(source, roles):
        if roles.text is None:
            scan.group_ids[position] = stable_id(f"row:{position}" if group is None else group)
            continue
        try:
            captions = captions_of(value)
        except ValueError as reason:
            scan.unusable.append(QuarantineRecord(position, None, str(reason), source=source.name))
            continue
        scan.group_ids[position] = group_id(group, captions)
        scan.num_captions += len(captions)
        are_numbers = are_numbers and _is_number(captions[0])
        for caption in captions:
            if num_bytes is not None and len(caption.encode("utf-8", "surrogatepass")) > num_bytes:
                scan.num_long_captions += 1
                if len(scan.long_captions) < _MOST_LONG_CAPTIONS:
                    scan.long_captions.append(caption)
    if are_numbers and scan.num_captions:
        raise UserError(f'{key}: "{roles.text}" in {source.name} holds numbers, not text')
    return scan


def _cells(source: Source, roles: Roles) -> Iterator[tuple[int, Any, Any]]:
    columns = [column for column in (roles.text, roles.group) if column is not None]
    if not columns:
        yield from ((position, None, None) for position in range(len(source.dataset)))
        return
    position = 0
    for cells in source.dataset.select_columns(list(dict.fromkeys(columns))).iter(batch_size=_ROWS_AT_A_TIME):
        num_rows = len(cells[columns[0]])
        nothing = [None] * num_rows
        texts = nothing if roles.text is None else cells[roles.text]
        groups = nothing if roles.group is None else cells[roles.group]
        for text, group in zip(texts, groups, strict=True):
            yield position, text, group
            position += 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
