"""What the template shows of metrics and matrices, computed: places of bars, shades of cells, order of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.changes import Change, cells_of
from evaluation.exhibits import ConfusionMatrix, Item, SimilarityMatrix
from evaluation.results import TaskResult
from evaluation.tables import format_interval, format_metric, format_value

_MAX_CLASSES = 20
_NUM_CONFUSIONS = 10


@dataclass(frozen=True)
class HeadlineBar:
    """A headline metric; places are percentages of the width, for fractions the metric itself, from 0 on.

    Attributes:
        name: of the metric.
        value: formatted.
        interval: formatted, or empty.
        chance: formatted, or empty.
        at: where the value is, or None where there is no value.
        low: where the interval begins.
        high: where it ends.
        chance_at: where chance is, or None.
    """

    name: str
    value: str
    interval: str
    chance: str
    at: float | None
    low: float
    high: float
    chance_at: float | None


@dataclass(frozen=True)
class Cell:
    """A cell of a matrix: what it says, how dark it is in [0, 1], and whether it is on the diagonal."""

    text: str
    shade: float
    is_diagonal: bool


@dataclass(frozen=True)
class ConfusionPanel:
    """A confusion matrix of at most `_MAX_CLASSES` classes, the most frequent ones, and the commonest mistakes.

    Attributes:
        names: of the classes shown.
        rows: cells by true class; shades are shares of the row.
        num_classes: of the whole matrix.
        confusions: ``(true, predicted, count, share)`` of the commonest mistakes over all classes, share formatted.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    num_classes: int
    confusions: tuple[tuple[str, str, int, str], ...]


@dataclass(frozen=True)
class SimilarityPanel:
    """Pictures (rows) against texts (columns), darker for more similar within what the sample spans."""

    pictures: tuple[Item, ...]
    texts: tuple[Item, ...]
    rows: tuple[tuple[Cell, ...], ...]


def headline_panel(result: TaskResult) -> tuple[HeadlineBar, ...]:
    """Return one bar per headline metric that is a fraction, in order; all such metrics where none is named."""
    names = [name for name in result.headline or result.metrics if result.unit(name) == "fraction"]
    return tuple(_headline_bar(result, name) for name in names)


def _headline_bar(result: TaskResult, name: str) -> HeadlineBar:
    value, interval, chance = result.metrics[name], result.intervals.get(name), result.chance.get(name)
    at = None if value is None else 100 * max(value, 0)  # a correlation may be below
    return HeadlineBar(
        name=name,
        value=format_metric(result, name),
        interval=format_interval(interval, "fraction"),
        chance="" if chance is None else format_value(chance, "fraction"),
        at=at,
        low=100 * max(interval.low, 0) if interval else at or 0.0,
        high=100 * max(interval.high, 0) if interval else at or 0.0,
        chance_at=None if chance is None else 100 * chance,
    )


@dataclass(frozen=True)
class ChangeRow:
    """A metric before and after: its cells, and whether its interval leaves 0 out, above or below.

    Attributes:
        name: of the metric.
        dataset: what was judged on.
        is_guard: the data stand for what is not to be forgotten.
        cells: before, after, difference, interval; formatted.
        direction: ``better``, ``worse``, or empty where the two are not apart.
    """

    name: str
    dataset: str
    is_guard: bool
    cells: tuple[str, ...]
    direction: str


def change_row(change: Change) -> ChangeRow:
    """Return the row of a change."""
    interval = change.comparison.interval if change.comparison else None
    direction = ""
    if interval is not None:
        direction = "better" if interval.low > 0 else "worse" if interval.high < 0 else ""
    return ChangeRow(change.metric, change.dataset, change.is_guard, cells_of(change)[1:], direction)


def confusion_panel(matrix: ConfusionMatrix) -> ConfusionPanel:
    """Return the panel of a confusion matrix; classes stay in their order."""
    counts, names = matrix.counts, matrix.class_names
    support = counts.sum(axis=1)
    shown = np.sort(np.argsort(-support, kind="stable")[:_MAX_CLASSES]).tolist()
    shares = counts / np.maximum(support, 1)[:, None]
    mistakes = np.where(np.eye(len(names), dtype=bool), 0, counts)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_NUM_CONFUSIONS]
    pairs = [tuple(map(int, np.unravel_index(flat, counts.shape))) for flat in order if mistakes.flat[flat] > 0]
    return ConfusionPanel(
        names=tuple(names[index] for index in shown),
        rows=tuple(
            tuple(
                Cell(str(counts[row, column]) if counts[row, column] else "", float(shares[row, column]), row == column)
                for column in shown
            )
            for row in shown
        ),
        num_classes=len(names),
        confusions=tuple(
            (names[row], names[column], int(counts[row, column]), format_value(shares[row, column], "fraction"))
            for row, column in pairs
        ),
    )


def similarity_panel(matrix: SimilarityMatrix) -> SimilarityPanel:
    """Return the panel of a similarity matrix."""
    scores = matrix.scores
    low, span = float(scores.min()), float(np.ptp(scores)) or 1.0
    return SimilarityPanel(
        pictures=matrix.pictures,
        texts=matrix.texts,
        rows=tuple(
            tuple(
                Cell(f"{score:.2f}".replace("0.", "."), (float(score) - low) / span, row == column)
                for column, score in enumerate(line.tolist())
            )
            for row, line in enumerate(scores)
        ),
    )
