"""What the template shows of metrics, queries and matrices, computed: places of bars, shades of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.changes import Change, cells_of
from evaluation.exhibits import ConfusionMatrix, Item, RankedExample, SimilarityMatrix
from evaluation.results import TaskResult
from evaluation.tables import format_interval, format_metric, format_value

_MAX_CLASSES = 20


@dataclass(frozen=True)
class Bar:
    """A fraction with its interval; places are percentages of the width: the fraction itself, from 0 on.

    Attributes:
        name: what it is.
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
    """A confusion matrix of at most `_MAX_CLASSES` classes, the most frequent ones.

    Attributes:
        names: of the classes shown.
        rows: cells by true class; shades are shares of the row.
        num_classes: of the whole matrix.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    num_classes: int


@dataclass(frozen=True)
class SimilarityPanel:
    """Pictures (rows) against texts (columns), darker for more similar within what the sample spans."""

    pictures: tuple[Item, ...]
    texts: tuple[Item, ...]
    rows: tuple[tuple[Cell, ...], ...]


def headline_panel(result: TaskResult) -> tuple[Bar, ...]:
    """Return one bar per headline metric that is a fraction, in order; all such metrics where none is named."""
    names = [name for name in result.headline or result.metrics if result.unit(name) == "fraction"]
    return tuple(_bar(result, name) for name in names)


def _bar(result: TaskResult, name: str) -> Bar:
    value, interval, chance = result.metrics[name], result.intervals.get(name), result.chance.get(name)
    at = None if value is None else 100 * max(value, 0)  # a correlation may be below
    return Bar(
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


@dataclass(frozen=True)
class Queries:
    """Queries that found what belongs to them, and queries that did not."""

    found: tuple[RankedExample, ...]
    missed: tuple[RankedExample, ...]


def queries_panel(examples: Sequence[RankedExample], num_each: int, num_candidates: int) -> Queries | None:
    """Return at most so many queries of each kind with so many candidates each; None where there are no queries."""
    short = [replace(example, candidates=example.candidates[:num_candidates]) for example in examples]
    found = tuple(example for example in short if example.rank == 1)
    missed = tuple(example for example in short if example.rank > 1)
    return Queries(found[:num_each], missed[:num_each]) if short else None


def confusion_panel(matrix: ConfusionMatrix) -> ConfusionPanel:
    """Return the panel of a confusion matrix; classes stay in their order."""
    counts, names = matrix.counts, matrix.class_names
    support = counts.sum(axis=1)
    shown = np.sort(np.argsort(-support, kind="stable")[:_MAX_CLASSES]).tolist()
    shares = counts / np.maximum(support, 1)[:, None]
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
