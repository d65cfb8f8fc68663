"""What is wrong with data, and what a user should know about it before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmcl.data.guesses import Guess
from mmcl.data.look import Look
from mmcl.data.quarantine import Quarantine
from mmcl.data.remarks import count_cut
from mmcl.data.repeats import Repeats, RowKeys, find_repeats, rows_in_common
from mmcl.data.scan import BoolArray
from mmcl.errors import UserError
from mmcl.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class UnreadableRow:
    """A row whose picture cannot be read.

    Attributes:
        row: its position in the source, from 0.
        path: of the picture, where it is a file.
        reason: what is wrong with it, in words.
    """

    row: int
    path: str | None
    reason: str


@dataclass(frozen=True)
class TextLengths:
    """How many captions are cut.

    Attributes:
        model: whose tokenizer counts.
        max_length: in tokens, special tokens included; None where nothing was counted.
        num_captions: of usable captions, all of them.
        num_cut: longer ones, to be exact of the first 20,000 that may be, and reckoned from those for the rest.
        not_counted: why nothing was counted; None where it was.
    """

    model: str
    max_length: int | None = None
    num_captions: int = 0
    num_cut: int = 0
    not_counted: str | None = None


@dataclass(frozen=True)
class Overlap:
    """What held-out rows have in common with those that are learnt from.

    Attributes:
        held_out: which they are, in words: ``of validation.csv``.
        num_rows: of them.
        rows: positions of the held-out rows whose group, picture or text is learnt from too, by ``group``, ``picture``
            and ``text``; what was not compared, for want of a column, is not there.
        not_compared: what the rows that are learnt from have a column for, and the held-out ones have not.
    """

    held_out: str
    num_rows: int
    rows: Mapping[str, tuple[int, ...]]
    not_compared: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataCheck:
    """What was found.

    Attributes:
        data: its name.
        num_rows: all rows.
        guesses: which column plays which role, and why.
        num_groups: different groups; None where no column gives them.
        num_classes: different labels; None without a label column.
        unreadable: rows whose picture is there and cannot be read.
        without_picture: rows whose picture is missing.
        without_caption: rows without a usable caption.
        without_label: rows without a label.
        without_score: rows without a usable score, where a recipe needs scores.
        pictures: what occurs in several rows, by a hash of the decoded pixels; None without an image column.
        texts: the same by normalised caption: case, spaces and forms of a character play no part.
        lengths: of the captions; None without a text column.
        overlap: with held-out rows; None where none were given.
        stops_training: what a run would stop at, in words.
    """

    data: str
    num_rows: int
    guesses: tuple[Guess, ...]
    num_groups: int | None = None
    num_classes: int | None = None
    unreadable: tuple[UnreadableRow, ...] = ()
    without_picture: tuple[int, ...] = ()
    without_caption: tuple[int, ...] = ()
    without_label: tuple[int, ...] = ()
    without_score: tuple[int, ...] = ()
    pictures: Repeats | None = None
    texts: Repeats | None = None
    lengths: TextLengths | None = None
    overlap: Overlap | None = None
    stops_training: tuple[str, ...] = field(default=())


def check_rows(
    look: Look,
    guesses: Sequence[Guess],
    max_unreadable: float,
    lengths: TextLengths | None = None,
    overlap: Overlap | None = None,
) -> DataCheck:
    """Draw up what a look at the rows tells.

    Args:
        look: at all rows.
        guesses: by which its roles were found.
        max_unreadable: share of rows that cannot be used, 0 to 1, above which a run stops.
        lengths: of the captions.
        overlap: with held-out rows.
    """
    roles, scan = look.roles, look.scan
    group_ids = scan.group_ids if roles.group is not None else None
    keys = look.keys()
    return DataCheck(
        data=look.source.name,
        num_rows=look.num_rows,
        guesses=tuple(guesses),
        num_groups=None if group_ids is None else len(np.unique(group_ids)),
        num_classes=None if roles.label is None else look.num_classes,
        unreadable=tuple(UnreadableRow(bad.sample_id, bad.path, bad.reason) for bad in look.pictures.unreadable),
        without_picture=_without(scan.has.get("image")),
        without_caption=_without(scan.has.get("text.0")),
        without_label=look.unlabelled,
        without_score=_without(scan.has.get("score")),
        pictures=find_repeats(keys["picture"], group_ids) if "picture" in keys else None,
        texts=find_repeats(keys["text"], group_ids) if "text" in keys else None,
        lengths=lengths,
        overlap=overlap,
        stops_training=tuple(_stops(look, max_unreadable)),
    )


def measure_lengths(look: Look, tokenizer: TextTokenizer, model: str) -> TextLengths:
    """Count the captions of more tokens than the model takes."""
    num_cut = round(count_cut(look.scan, tokenizer))
    return TextLengths(model, tokenizer.max_length, look.scan.num_captions, num_cut)


def overlap_with(train: Look, held_out: Look) -> Overlap:
    """Compare the rows of one source to those of another."""
    return _overlap(f"of {held_out.source.name}", held_out.num_rows, train.keys(), held_out.keys())


def overlap_within(look: Look, is_held_out: BoolArray) -> Overlap:
    """Compare a part of the rows to the others.

    Args:
        look: at all rows.
        is_held_out: ``(N,)`` bool. Rows that cannot be used play no part, whichever side they are on.
    """
    usable = look.is_usable
    train: dict[str, RowKeys] = {}
    held_out: dict[str, RowKeys] = {}
    for name, keys in look.keys().items():
        train[name] = {row: values for row, values in keys.items() if usable[row] and not is_held_out[row]}
        held_out[name] = {row: values for row, values in keys.items() if usable[row] and is_held_out[row]}
    return _overlap("held out", int((is_held_out & usable).sum()), train, held_out)


def _overlap(name: str, num_rows: int, train: Mapping[str, RowKeys], held_out: Mapping[str, RowKeys]) -> Overlap:
    common = {what: rows_in_common(held_out[what], train[what]) for what in train if what in held_out}
    return Overlap(name, num_rows, common, tuple(what for what in train if what not in held_out))


def _without(has: BoolArray | None) -> tuple[int, ...]:
    return () if has is None else tuple(np.flatnonzero(~has).tolist())


def _stops(look: Look, max_unreadable: float) -> Sequence[str]:
    """Return what `Quarantine` would say, of the rows that lack something and then of those that are met later."""
    if not look.is_usable.any():
        bad = [*look.scan.unusable, *look.pictures.unreadable]
        return [f"{look.source.key}: no row of {look.source.name} can be used: {bad[0].reason}"]
    stops = []
    quarantine = Quarantine(max_unreadable, rows_per_epoch=look.num_rows)
    for records, count in ((look.scan.unusable, quarantine.hold), (look.pictures.unreadable, quarantine.add)):
        try:
            count(records, look.num_rows)
        except UserError as error:
            stops.append(str(error))
    return stops
