"""One look at the rows of an indexed source before anything starts: what each has, and what group it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mmcl.data.captions import group_id, text_key
from mmcl.data.cells import read_cells
from mmcl.data.columns import Roles
from mmcl.data.hashing import Int64Array
from mmcl.data.needs import RowNeeds, is_text, name_of, role_of
from mmcl.data.prompts import texts_in
from mmcl.data.quarantine import QuarantineRecord
from mmcl.data.scores import score_of
from mmcl.data.shared_texts import TextKeys
from mmcl.data.sources import Source
from mmcl.errors import UserError
from mmcl.objectives.views import FIRST_NEGATIVE, number_of

BoolArray = NDArray[np.bool_]

_ROWS_AT_A_TIME = 10_000
_MOST_LONG_CAPTIONS = 20_000


@dataclass
class RowScan:
    """What one look at an indexed source tells.

    Attributes:
        group_ids: ``(N,)`` int64 group of every row.
        split_ids: ``(N,)`` int64 of what the split never divides: the group, but not where that is a whole class.
        has: ``(N,)`` bool for each part that the needs name: which rows have it.
        is_usable: ``(N,)`` bool: which rows are of use to an objective.
        optional: parts that a row may lack and be complete.
        unusable: one record for each row that is not.
        long_captions: captions of more bytes than were asked about, the first 20,000 of them.
        num_long_captions: all of them.
        num_captions: usable captions, positives and negatives included.
        texts: what all of them are compared by; nothing where no two are equal, or where they are prompts.
    """

    group_ids: Int64Array
    split_ids: Int64Array
    has: dict[str, BoolArray]
    is_usable: BoolArray
    optional: frozenset[str] = frozenset()
    unusable: list[QuarantineRecord] = field(default_factory=list)
    long_captions: list[str] = field(default_factory=list)
    num_long_captions: int = 0
    num_captions: int = 0
    texts: TextKeys = field(default_factory=TextKeys)

    @property
    def is_complete(self) -> BoolArray:
        """``(N,)`` bool: which rows have every part that is not optional."""
        needed = [has for part, has in self.has.items() if part not in self.optional]
        return np.logical_and.reduce([np.ones(len(self.group_ids), dtype=bool), *needed])


def scan_rows(
    source: Source, roles: Roles, needs: RowNeeds, key: str, num_bytes: int | None = None, scope: str = ""
) -> RowScan:
    """Read the text, score and group columns of an indexed source, and of pictures whether they are there.

    Args:
        source: an indexed source.
        roles: its columns.
        needs: what makes a row usable.
        key: of the columns in the recipe, for errors.
        num_bytes: captions of more bytes of UTF-8 than this are kept in ``long_captions``; None keeps none.
        scope: of the groups, as `group_id` takes it.

    Raises:
        UserError: a csv file's text column holds nothing but numbers.
    """
    num_rows = len(source.dataset)
    scan = RowScan(
        group_ids=np.zeros(num_rows, dtype=np.int64),
        split_ids=np.zeros(num_rows, dtype=np.int64),
        has={part: np.zeros(num_rows, dtype=bool) for part in needs.parts},
        is_usable=np.ones(num_rows, dtype=bool),
        optional=needs.optional,
    )
    wrong: dict[tuple[int, str], str] = {}
    if "image" in scan.has and roles.image is not None:
        scan.has["image"] = pictures_present(source, roles.image)
    _scan_groups(scan, source, roles, scope)
    for part in scan.has:
        if is_text(part):
            _scan_texts(scan, part, source, roles, num_bytes, wrong, key)
    if "score" in scan.has:
        _scan_scores(scan, source, roles, wrong)
    scan.is_usable = np.logical_or.reduce(
        [np.logical_and.reduce([scan.has[part] for part in sorted(wanted)]) for wanted in needs.wanted]
    )
    wanted_parts = [part for part in needs.parts if any(part in wanted for wanted in needs.wanted)]
    for position in np.flatnonzero(~scan.is_usable).tolist():
        lacking = [part for part in wanted_parts if not scan.has[part][position]]
        reasons = [wrong.get((position, part)) or missing_reason(part) for part in lacking]
        scan.unusable.append(QuarantineRecord(position, None, "; ".join(reasons), source=source.name))
    return scan


def group_of(text: Any, group: Any, position: int, roles: Roles, scope: str = "") -> int:
    """Return the id of a row's group from its cells, as `mmcl.data.captions.group_id` does."""
    try:
        captions = texts_in(text, "text.0", roles)
    except ValueError:
        captions = ()
    # Of a class, one template says as much as all.
    captions = captions[:1] if roles.caption_templates else captions
    return group_id(group, captions, position, roles.is_ungrouped, scope, roles.equal_texts)


def needs_of_whole_rows(roles: Roles) -> RowNeeds:
    """Return that a row must have a picture and a caption, where there are columns for them."""
    parts = [part for part, column in (("image", roles.image), ("text.0", roles.text)) if column is not None]
    return RowNeeds((frozenset(parts),), num_images=int("image" in parts), num_texts=int("text.0" in parts))


def pictures_present(source: Source, column: str) -> BoolArray:
    """Return ``(N,)`` bool: which cells of an indexed source's image column hold something; no picture is read.

    Nothing is a missing value, or bytes or a path of length 0.
    """
    table = source.dataset.select_columns([column]).with_format("arrow")
    parts = [_holds_something(cells) for rows in table.iter(_ROWS_AT_A_TIME) for cells in rows[column].chunks]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def has_picture(value: Any) -> bool:
    """Whether a cell of an image column holds something, as `pictures_present` has it."""
    if isinstance(value, Mapping):
        encoded = value.get("bytes")
        value = value.get("path") if encoded is None else encoded
    return value is not None and not (isinstance(value, (str, bytes)) and not value)


def missing_reason(part: str) -> str:
    """Return why a row is of no use that lacks a part."""
    return f"the {name_of(part)} is missing" + (" or empty" if is_text(part) else "")


def reason_of(error: ValueError, part: str) -> str:
    """Return what `texts_in` said of a text that need not be a caption."""
    return str(error).replace("the caption", f"the {name_of(part)}", 1)


def _holds_something(cells: pa.Array) -> BoolArray:
    if isinstance(cells, pa.ExtensionArray):
        cells = cells.storage
    if pa.types.is_struct(cells.type):
        encoded, path = cells.field("bytes"), cells.field("path")
        inside = np.where(_is_valid(encoded), _holds_something(encoded), _holds_something(path))
        return np.logical_and(inside, _is_valid(cells))
    if _has_length(cells.type):
        return np.asarray(pc.fill_null(pc.greater(pc.binary_length(cells), 0), False))
    return _is_valid(cells)


def _is_valid(cells: pa.Array) -> BoolArray:
    return np.asarray(cells.is_valid())


def _has_length(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _scan_groups(scan: RowScan, source: Source, roles: Roles, scope: str) -> None:
    for position, (text, group) in enumerate(read_cells(source, roles.column_of("text.0"), roles.group)):
        scan.group_ids[position] = group_of(text, group, position, roles, scope)
        scan.split_ids[position] = scan.group_ids[position]
        if roles.caption_templates:  # a split by class would judge by classes that were never learnt
            scan.split_ids[position] = group_id(group, (), position, roles.is_ungrouped, scope)


def _scan_texts(
    scan: RowScan,
    part: str,
    source: Source,
    roles: Roles,
    num_bytes: int | None,
    wrong: dict[tuple[int, str], str],
    key: str,
) -> None:
    column, role = roles.column_of(part), role_of(part)
    num_captions = scan.num_captions
    are_numbers = source.delimiter is not None
    are_compared = roles.equal_texts != "never" and not roles.caption_templates
    for position, (value,) in enumerate(read_cells(source, column)):
        try:
            captions = texts_in(value, part, roles)
        except ValueError as reason:
            wrong[position, part] = reason_of(reason, part)
            continue
        scan.has[part][position] = True
        scan.num_captions += len(captions)
        are_numbers = are_numbers and _is_number(captions[0])
        for caption in captions:
            if are_compared:
                scan.texts.add(position, text_key(caption, roles.equal_texts), is_own=number_of(part) < FIRST_NEGATIVE)
            if num_bytes is not None and len(caption.encode("utf-8", "surrogatepass")) > num_bytes:
                scan.num_long_captions += 1
                if len(scan.long_captions) < _MOST_LONG_CAPTIONS:
                    scan.long_captions.append(caption)
    if are_numbers and scan.num_captions > num_captions:
        raise UserError(f'{key}.{role}: "{column}" in {source.name} holds numbers, not text')


def _scan_scores(scan: RowScan, source: Source, roles: Roles, wrong: dict[tuple[int, str], str]) -> None:
    for position, (value,) in enumerate(read_cells(source, roles.score)):
        try:
            score_of(value)
            scan.has["score"][position] = True
        except ValueError as reason:
            wrong[position, "score"] = str(reason)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
