"""Several models on the same data: who reaches what, and who is told apart from the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from evaluation.changes import main_metrics
from evaluation.comparing import compare
from evaluation.comparison import MetricComparison, Pair
from evaluation.errors import EvaluationError
from evaluation.model_table import model_label
from evaluation.results import TaskResult
from evaluation.tables import format_interval, format_value

Mark: TypeAlias = Literal["best", "tied", "apart", "unknown", ""]
"""``tied``: not told apart from the best; ``unknown``: cannot be compared with it, see `evaluation.compare`."""

_FINGERPRINT_LENGTH = 8


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
    """Return the results by what was judged, in the order in which each first occurs.

    Of a model that was judged by the same task twice the second result belongs to a contest of its own.
    """
    found: list[tuple[tuple[str, ...], dict[str, TaskResult]]] = []
    for result, name in zip(results, model_names(results), strict=True):
        what = (result.dataset, result.split, result.language, result.task)
        by_name = next((several for key, several in found if key == what and name not in several), None)
        if by_name is None:
            by_name = {}
            found.append((what, by_name))
        by_name[name] = result
    return [Contest(tuple(by_name.values()), tuple(by_name)) for _, by_name in found]


def model_names(results: Sequence[TaskResult]) -> list[str]:
    """Return the name of each result's model, with its precision and its fingerprint as far as several need them."""
    identities = [
        (model_label(result), result.precision, result.fingerprint[:_FINGERPRINT_LENGTH]) for result in results
    ]
    names = {identity: identity[0] for identity in identities}
    for part in (1, 2):
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
        compared = _compared(contest)
        for metric in main_metrics(contest.results[0]):
            cells = dict(zip(contest.names, _cells(contest, metric, compared.get(metric)), strict=True))
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


def _compared(contest: Contest) -> dict[str, MetricComparison]:
    """The comparisons of all pairs by metric; none where no two models can be compared."""
    by_model = {name: [result] for name, result in zip(contest.names, contest.results, strict=True)}
    try:
        return {one.metric: one for one in compare(by_model).by_dataset}
    except EvaluationError:  # partial results, or other prompts: the page marks them as unknown
        return {}


def _cells(contest: Contest, metric: str, compared: MetricComparison | None) -> list[Standing]:
    values = {name: result.metrics.get(metric) for name, result in zip(contest.names, contest.results, strict=True)}
    existing = {name: value for name, value in values.items() if value is not None}
    best = max(existing, key=lambda name: existing[name]) if len(existing) > 1 else None
    return [
        Standing(
            value=format_value(existing[name], "fraction"),
            interval=format_interval(result.intervals.get(metric), "fraction"),
            mark=""
            if best is None
            else "best"
            if name == best
            else _mark(compared.pair(best, name) if compared else None),
        )
        if name in existing
        else Standing("n/a")
        for name, result in zip(contest.names, contest.results, strict=True)
    ]


def _mark(pair: Pair | None) -> Mark:
    return "unknown" if pair is None else "apart" if pair.is_told_apart else "tied"
