"""What was found in data, in a line each."""

from __future__ import annotations

from collections.abc import Iterator

from mmcl.data.check import DataCheck, Overlap, TextLengths
from mmcl.data.repeats import Repeats

_MOST_SHOWN = 5
"""Rows that are shown one by one."""


def lines_of(check: DataCheck) -> Iterator[str]:
    """Yield what a terminal shows: what was looked at, what was found of it, and the first rows that are unreadable."""
    columns = "   ".join(f"{guess.role} <- {guess.column}" for guess in check.guesses if guess.column is not None)
    yield f"{check.num_rows:,} rows   {columns}"
    if check.pictures is not None:
        yield f"pictures   {_pictures(check)}"
    if check.texts is not None:
        yield f"captions   {_captions(check, check.texts)}"
    if check.num_groups is not None:
        yield f"groups     {check.num_groups:,}"
    if check.num_classes is not None:
        missing = f"; {_rows(len(check.without_label))} without a label" if check.without_label else ""
        yield f"labels     {check.num_classes:,} classes{missing}"
    if check.without_score:
        yield f"scores     {_rows(len(check.without_score))} without a score"
    if check.lengths is not None and check.lengths.not_counted is not None:
        yield f"lengths    not counted: {check.lengths.not_counted}"
    if check.overlap is not None:
        yield f"overlap    {_overlap(check.overlap)}"
    for bad in check.unreadable[:_MOST_SHOWN]:
        yield f"row {bad.row}: {bad.path + ': ' if bad.path and bad.path not in bad.reason else ''}{bad.reason}"
    if (num_more := len(check.unreadable) - _MOST_SHOWN) > 0:
        yield f"... and {num_more:,} more"


def _overlap(overlap: Overlap) -> str:
    """Return ``2 by picture, 0 by text, of 30 rows of emojitwo``."""
    found = ", ".join(f"{len(rows):,} by {what}" for what, rows in overlap.rows.items())
    others = f"; it has no column to compare by {' or '.join(overlap.not_compared)}" if overlap.not_compared else ""
    return f"{found}, of {_rows(overlap.num_rows)} {overlap.held_out}{others}"


def _pictures(check: DataCheck) -> str:
    assert check.pictures is not None
    num_unreadable = len(check.unreadable)
    found = [f"{num_unreadable:,} cannot be read" if num_unreadable else "all can be read"]
    if check.without_picture:
        found.append(f"{_rows(len(check.without_picture))} without one")
    return "; ".join([*found, *_repeats(check.pictures, "pixels", "pictures")])


def _captions(check: DataCheck, texts: Repeats) -> str:
    num_empty = len(check.without_caption)
    found = [f"{num_empty:,} empty" if num_empty else "none is empty", *_repeats(texts, "text", "captions")]
    if check.lengths is not None and check.lengths.not_counted is None:
        found.append(_lengths(check.lengths))
    return "; ".join(found)


def _repeats(repeats: Repeats, by: str, what: str) -> Iterator[str]:
    if not repeats.num_rows:
        yield f"none repeats, by {by}"
        return
    yield f"{_rows(repeats.num_rows)} repeat{'s' if repeats.num_rows == 1 else ''} an earlier one, by {by}"
    if repeats.num_across_groups:
        share = repeats.num_across_groups / repeats.num_distinct
        yield f"{share:.1%} of the different {what} are shared by several groups"


def _lengths(lengths: TextLengths) -> str:
    if not lengths.num_cut:
        return f"none is longer than the {lengths.max_length} tokens of {lengths.model}"
    share = lengths.num_cut / lengths.num_captions
    return f"{share:.1%} are longer than the {lengths.max_length} tokens of {lengths.model} and are cut"


def _rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")
