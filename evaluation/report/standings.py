"""Several models on the same data: who reaches what, and who is told apart from the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from evaluation.changes import compare_results, main_metrics
from evaluation.multiple_comparisons import holm
from evaluation.results import TaskResult
from evaluation.statistics import CONFIDENCE
from evaluation.tables import format_interval, format_value

Mark: TypeAlias = Literal["best", "tied", "apart", "unknown", ""]
"""``tied``: not told apart from the best; ``unknown``: outcomes of single examples are not at hand for both."""

_FINGERPRINT_LENGTH = 8
_WHAT_ROWS_ARE = ("id", "image_id", "text_id", "label", "group", "image_group", "text_group", "score")


@dataclass(frozen=True)
class Contest:
    """One task on one data set, and the results of the models that were judged by it.

    Attributes:
        results: one for each model, all of one data set, split, language and task.
        names: of the models, as `model_names` has them.
    """

    results: tuple[TaskResult, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """A model's cell in the table; empty where it was not judged."""

    value: str = ""
    interval: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class StandingsRow:
    """One metric of one contest.

    Attributes:
        contest: its number, from 0.
        metric: its name.
        cells: one for each model of the page.
        chance: formatted, or empty.
    """

    contest: int
    metric: str
    cells: tuple[Standing, ...]
    chance: str


def contests(results: Sequence[TaskResult]) -> list[Contest]:
    """Return the results by what was judged, in the order in which each first occurs."""
    names = model_names(results)
    found: dict[tuple[object, ...], list[tuple[TaskResult, str]]] = {}
    for result, name in zip(results, names, strict=True):
        what = (result.dataset, result.split, result.language, result.task)
        # The same model by the same task once more is a contest of its own.
        number = sum(name == other for key, several in found.items() if key[:-1] == what for _, other in several)
        found.setdefault((*what, number), []).append((result, name))
    return [Contest(*(tuple(part) for part in zip(*several, strict=True))) for several in found.values()]


def model_names(results: Sequence[TaskResult]) -> list[str]:
    """Return the name of each result's model, with weights, precision and fingerprint as far as several need them."""
    identities = [
        (result.model, result.pretrained, result.precision, result.fingerprint[:_FINGERPRINT_LENGTH])
        for result in results
    ]
    names = {identity: identity[0] for identity in identities}
    for part in (1, 2, 3):
        counts = Counter(names.values())
        names = {
            identity: f"{name}, {identity[part]}" if counts[name] > 1 and identity[part] else name
            for identity, name in names.items()
        }
    return [names[identity] for identity in identities]


def standings(found: Sequence[Contest]) -> tuple[tuple[str, ...], tuple[StandingsRow, ...]]:
    """Return the names of all models, and a row for each main metric of each contest."""
    models = tuple(dict.fromkeys(name for contest in found for name in contest.names))
    rows = []
    for number, contest in enumerate(found):
        for metric in main_metrics(contest.results[0]):
            cells = dict(zip(contest.names, _cells(contest.results, metric), strict=True))
            chance = contest.results[0].chance.get(metric)
            rows.append(
                StandingsRow(
                    number,
                    metric,
                    tuple(cells.get(name, Standing()) for name in models),
                    "" if chance is None else format_value(chance, "fraction"),
                )
            )
    return models, tuple(rows)


def _cells(results: Sequence[TaskResult], metric: str) -> list[Standing]:
    values = [result.metrics.get(metric) for result in results]
    marks = _marks(results, values, metric)
    return [
        Standing("n/a", "", "")
        if value is None
        else Standing(format_value(value, "fraction"), format_interval(result.intervals.get(metric), "fraction"), mark)
        for result, value, mark in zip(results, values, marks, strict=True)
    ]


def _marks(results: Sequence[TaskResult], values: Sequence[float | None], metric: str) -> list[Mark]:
    existing = [number for number, value in enumerate(values) if value is not None]
    marks: list[Mark] = [""] * len(values)
    if len(existing) < 2:
        return marks
    best = max(existing, key=lambda number: values[number] or 0.0)
    others = [number for number in existing if number != best]
    p_values = {number: _p_value(results[number], results[best], metric) for number in others}
    corrected = iter(holm([p for p in p_values.values() if p is not None]).tolist())
    marks[best] = "best"
    for number, p in p_values.items():
        marks[number] = "unknown" if p is None else "apart" if next(corrected) < 1 - CONFIDENCE else "tied"
    return marks


def are_of_the_same_examples(first: TaskResult, second: TaskResult) -> bool:
    """Return whether two results are of the same rows, in the same order, asked with the same prompts.

    As far as their arrays tell: results that were read from files without them are never of the same examples.
    """
    known = [name for name in _WHAT_ROWS_ARE if name in first.examples and name in second.examples]
    same = (np.array_equal(first.examples[name], second.examples[name]) for name in known)
    return bool(known) and all(same) and first.template_hash == second.template_hash


def _p_value(first: TaskResult, second: TaskResult, metric: str) -> float | None:
    if not are_of_the_same_examples(first, second):
        return None
    found = [change.comparison for change in compare_results([first], [second]) if change.metric == metric]
    return found[0].p_value if found and found[0] is not None else None
