"""What the template shows of classes: a bar for each, and the ones that are taken for each other, with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.class_scores import ClassScores
from evaluation.exhibits import Item
from evaluation.report.panels import Bar
from evaluation.results import TaskResult
from evaluation.tables import format_interval, format_value

_MAX_CLASSES = 20
_SEED_OF_CASES = 0


@dataclass(frozen=True)
class ClassRow:
    """The recall of one class by each model, a bar each.

    Attributes:
        name: of the class.
        support: examples of it.
        precision: of the first model, formatted.
        f1: the same.
        bars: one for each model, named after it.
    """

    name: str
    support: int
    precision: str
    f1: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class ClassPanel:
    """At most `_MAX_CLASSES` classes: all of them, or as many of the worst as of the best.

    Attributes:
        rows: in the order of the classes; where some are left out, from the worst to the best.
        num_classes: that have examples.
    """

    rows: tuple[ClassRow, ...]
    num_classes: int


@dataclass(frozen=True)
class Confusion:
    """A class that was taken for another.

    Attributes:
        true_class: its name.
        predicted: the name of the other.
        count: how often.
        share: of the class's pictures, formatted.
        pictures: some of the cases, drawn by chance.
    """

    true_class: str
    predicted: str
    count: int
    share: str
    pictures: tuple[Item, ...]


def class_panel(results: Sequence[TaskResult], names: Sequence[str]) -> ClassPanel | None:
    """Return the recalls of the classes by one or several models on the same data; None where there are no classes.

    Args:
        results: of each model; the order of classes is that of the first, by whose recall the worst are chosen.
        names: of the models.
    """
    scores = [result.per_class for result in results]
    present = [name for name, one in scores[0].items() if one.support and all(name in other for other in scores)]
    if not present:
        return None
    shown = present
    if len(present) > _MAX_CLASSES:
        ordered = sorted(present, key=lambda name: scores[0][name].recall or 0.0)
        shown = ordered[: _MAX_CLASSES // 2] + ordered[-_MAX_CLASSES // 2 :]
    rows = tuple(
        ClassRow(
            name=name,
            support=scores[0][name].support,
            precision=_percent(scores[0][name].precision),
            f1=_percent(scores[0][name].f1),
            bars=tuple(_bar(model, one[name]) for model, one in zip(names, scores, strict=True)),
        )
        for name in shown
    )
    return ClassPanel(rows, len(present))


def _percent(value: float | None) -> str:
    return "" if value is None else format_value(value, "fraction")


def _bar(model: str, scores: ClassScores) -> Bar:
    recall, interval = scores.recall or 0.0, scores.recall_interval
    return Bar(
        name=model,
        value=format_value(recall, "fraction"),
        interval=format_interval(interval, "fraction"),
        chance="",
        at=100 * recall,
        low=100 * (interval.low if interval else recall),
        high=100 * (interval.high if interval else recall),
        chance_at=None,
    )


def confusions(result: TaskResult, num_pairs: int, num_pictures: int) -> tuple[Confusion, ...]:
    """Return the classes that were most often taken for another, the commonest first.

    Args:
        result: of a classification; without a confusion matrix there are none.
        num_pairs: of classes at most.
        num_pictures: of each pair at most; none where pictures or answers are not at hand.
    """
    matrix = result.exhibits.confusion
    if matrix is None:
        return ()
    counts, names = matrix.counts, matrix.class_names
    support = counts.sum(axis=1)
    mistakes = np.where(np.eye(len(names), dtype=bool), 0, counts)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:num_pairs]
    pairs = [tuple(map(int, np.unravel_index(flat, counts.shape))) for flat in order if mistakes.flat[flat] > 0]
    return tuple(
        Confusion(
            true_class=names[row],
            predicted=names[column],
            count=int(counts[row, column]),
            share=format_value(counts[row, column] / support[row], "fraction"),
            pictures=_cases(result, row, column, num_pictures),
        )
        for row, column in pairs
    )


def _cases(result: TaskResult, true_class: int, predicted: int, num_pictures: int) -> tuple[Item, ...]:
    examples, judged = result.examples, result.exhibits.judged
    if judged is None or not {"label", "prediction"} <= examples.keys():
        return ()
    rows = np.flatnonzero((examples["label"] == true_class) & (examples["prediction"] == predicted))
    drawn = np.random.default_rng(_SEED_OF_CASES).permutation(rows)[:num_pictures]
    return tuple(judged.item(row) for row in drawn.tolist())
