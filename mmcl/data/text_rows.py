"""Rows of texts to judge a model on: anchors, their positives and hard negatives, scores and labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcl.data.captions import captions_of
from mmcl.data.cells import read_cells
from mmcl.data.columns import Roles, resolve_roles
from mmcl.data.hashing import Int64Array
from mmcl.data.labels import is_missing
from mmcl.data.loader import TrainData
from mmcl.data.needs import RowNeeds
from mmcl.data.quarantine import QuarantineRecord
from mmcl.data.scan import scan_rows
from mmcl.data.scores import NO_SCORE, score_of
from mmcl.data.sources import Source, open_source
from mmcl.errors import UserError
from mmcl.objectives.views import FIRST_NEGATIVE
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig


@dataclass(frozen=True)
class TextNeeds:
    """What a task needs of its rows beside an anchor and a positive.

    Attributes:
        task: its name, which errors begin with.
        score: whether the rows have scores.
        label: whether every row has a label.
        negatives: whether every row has a hard negative.
        takes_negatives: whether hard negatives are read where there are any.
    """

    task: str
    score: bool = False
    label: bool = False
    negatives: bool = False
    takes_negatives: bool = False


@dataclass(frozen=True)
class TextRows:
    """Rows of texts, in the order of their source; rows that cannot be used are not among them.

    Attributes:
        name: of the data, for results.
        split: of the data, for results.
        anchors: the texts of each row, one at least.
        positives: the texts that belong to them, one at least.
        negatives: the texts of all columns of hard negatives; empty lists where none are read.
        scores: one per row, None where a row has none; empty where none are read.
        labels: what the cell of each row holds, of a class column the number; empty where none are read.
        groups: one id per row; rows of one group belong together.
        ids: the rows' positions in their source; of several, counted on from one to the next.
        left_out: the rows that cannot be used, with reasons.
    """

    name: str
    split: str
    anchors: list[list[str]]
    positives: list[list[str]]
    negatives: list[list[str]]
    scores: list[float | None]
    labels: list[str]
    groups: list[int]
    ids: list[int]
    left_out: tuple[QuarantineRecord, ...] = ()


def open_text_rows(
    source: SourceConfig, columns: ColumnsConfig, needs: TextNeeds, key: str = "evaluate.data"
) -> TextRows:
    """Open rows of texts to judge on.

    Args:
        source: where from. A stream is refused: judging needs all rows at once.
        columns: which column plays which role.
        needs: of the task.
        key: where the recipe names the source; errors begin with it.

    Raises:
        UserError: for whatever is wrong with the source, its columns or all of its rows.
    """
    opened = _open(source, key)
    place = f"{key.rpartition('.')[0] or key}.columns"
    return _read(opened, _roles(opened, columns, needs, place), needs, place)


def validation_text_rows(recipe: Recipe, data: TrainData, needs: TextNeeds) -> TextRows | None:
    """Return the held-out rows of a recipe as texts; None when ``data.validation`` is 0.

    Of several sources, those count that have the columns; of a replay no row is held out.

    Raises:
        UserError: none has, or for whatever is wrong with a source of their own.
    """
    config = recipe.data
    if isinstance(config.validation, SourceConfig):
        return open_text_rows(config.validation, config.columns, needs, "data.validation")
    if config.validation == 0:
        return None
    parts, refused = [], None
    for each in data.sources:
        positions = each.own(data.held_out)
        try:
            roles = _roles(each.source, each.columns, needs, each.columns_key)
        except UserError as error:
            refused = refused or error
            continue
        if len(positions):
            groups = each.slice(data.group_ids)[positions]
            rows = _read(each.source, roles, needs, each.columns_key, positions, groups)
            parts.append(replace(rows, ids=[each.first + row for row in rows.ids]))
    if not parts:
        raise refused or UserError(f"data.validation: no row of {data.name} is held out that {needs.task} can judge by")
    return _joined(parts)


def read_texts(source: SourceConfig, columns: Sequence[str], key: str) -> list[str]:
    """Return all texts of the first of some columns that a source has; those that are missing or empty are passed over.

    Raises:
        UserError: it has none of them, or for whatever is wrong with the source.
    """
    opened = _open(source, key)
    column = next((name for name in columns if name in opened.columns), columns[-1])
    roles = resolve_roles(opened, ColumnsConfig(text=column), {"text": ""}, key)
    return [text for (cell,) in read_cells(opened, roles.text) for text in _texts_in(cell)]


def _open(source: SourceConfig, key: str) -> Source:
    if source.streaming:
        raise UserError(f"{key}.streaming: rows to judge on are needed all at once; set it to false")
    return open_source(source, key)


def _roles(source: Source, columns: ColumnsConfig, needs: TextNeeds, key: str) -> Roles:
    required = {"text": f"{needs.task} needs texts", "positive": f"{needs.task} needs pairs of texts"}
    if needs.score:
        required["score"] = f"{needs.task} needs scores"
    if needs.label:
        required["label"] = f"{needs.task} needs labels"
    if needs.negatives:
        required["negatives"] = f"{needs.task} needs hard negatives"
    unread = {"image": False} | ({} if needs.label else {"label": False})
    return resolve_roles(
        source, columns.model_copy(update=unread), required, key, _num_negatives(source, columns, needs)
    )


def _num_negatives(source: Source, columns: ColumnsConfig, needs: TextNeeds) -> int:
    """Return how many columns of hard negatives are read: all that are named."""
    _, named = columns.given("negatives")
    if not (needs.negatives or needs.takes_negatives):
        return 0
    if isinstance(named, tuple):
        return len(named)
    return int(needs.negatives or isinstance(named, str) or (named is None and "negatives" in source.columns))


def _row_needs(roles: Roles, needs: TextNeeds) -> RowNeeds:
    pair = frozenset({"text.0", "text.1"})
    negatives = [f"text.{FIRST_NEGATIVE + number}" for number in range(len(roles.negatives))]
    # One hard negative will do.
    wanted = tuple(pair | {negative} for negative in negatives) if needs.negatives else (pair,)
    return RowNeeds(wanted, num_images=0, num_texts=FIRST_NEGATIVE + len(negatives))


def _read(
    source: Source,
    roles: Roles,
    needs: TextNeeds,
    key: str,
    positions: Int64Array | None = None,
    groups: Int64Array | None = None,
) -> TextRows:
    """Read the rows at some positions, by default all; their groups are those given, or as the columns say."""
    chosen = source if positions is None else replace(source, dataset=source.dataset.select(positions))
    scan = scan_rows(chosen, roles, _row_needs(roles, needs), key)
    left_out = list(scan.unusable)
    kept = scan.is_usable
    if roles.label is not None:
        for row, (cell,) in enumerate(read_cells(chosen, roles.label)):
            if kept[row] and is_missing(cell, roles):
                kept[row] = False
                left_out.append(QuarantineRecord(row, None, "the label is missing", source=source.name))
    if not kept.any():
        raise UserError(f"{key}: {needs.task} can use no row of {source.name}: {left_out[0].reason}")
    rows = np.flatnonzero(kept)
    usable = replace(chosen, dataset=chosen.dataset.select(rows))
    return TextRows(
        name=source.name,
        split=source.split if positions is None else "validation",
        anchors=_texts(usable, roles.text),
        positives=_texts(usable, roles.positive),
        negatives=[
            [text for cell in cells for text in _texts_in(cell)] for cells in read_cells(usable, *roles.negatives)
        ],
        scores=_scores(usable, roles, key),
        labels=[str(cell) for (cell,) in read_cells(usable, roles.label)] if roles.label else [],
        groups=(scan.group_ids if groups is None else groups)[rows].tolist(),
        ids=(rows if positions is None else positions[rows]).tolist(),
        left_out=tuple(left_out),
    )


def _texts(source: Source, column: Any) -> list[list[str]]:
    return [list(_texts_in(cell)) for (cell,) in read_cells(source, column)]


def _texts_in(cell: Any) -> Iterable[str]:
    try:
        return captions_of(cell)
    except ValueError:
        return ()


def _scores(source: Source, roles: Roles, key: str) -> list[float | None]:
    """Read the scores: a row may have none, and what is there must be a number."""
    scores: list[float | None] = []
    for (cell,) in read_cells(source, roles.score) if roles.score else ():
        try:
            scores.append(score_of(cell))
        except ValueError as reason:
            if str(reason) != NO_SCORE:
                raise UserError(f'{key}.score: in "{roles.score}" of {source.name} {reason}') from reason
            scores.append(None)
    return scores


def _joined(parts: Sequence[TextRows]) -> TextRows:
    """Return the rows of several sources as if they were of one."""
    if len(parts) == 1:
        return parts[0]

    def joined(name: str) -> list[Any]:
        return [item for part in parts for item in getattr(part, name)]

    lists = ("anchors", "positives", "negatives", "scores", "labels", "groups", "ids")
    return TextRows(
        name=" + ".join(part.name for part in parts),
        split=parts[0].split,
        **{name: joined(name) for name in lists},
        left_out=tuple(joined("left_out")),
    )
