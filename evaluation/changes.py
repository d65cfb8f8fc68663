"""What changed between two judgements by the same tasks: before and after training, example by example."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics import average_precision, spearman
from evaluation.results import TaskResult
from evaluation.statistics import PairedComparison, Statistic, paired_bootstrap, paired_bootstrap_of

RankMetric: TypeAlias = Callable[[NDArray[Any], NDArray[np.float32], NDArray[np.float64] | None], NDArray[np.float64]]
"""From ``(N,)`` gold values, ``(N,)`` cosines and ``(R, N)`` multiplicities to ``(R,)`` values."""

MAIN_METRICS = ("text_retrieval_recall@1", "image_retrieval_recall@1", "acc1", "mean_corruption_acc1", "accuracy")
_RANKED: dict[str, tuple[str, RankMetric]] = {
    "cosine_spearman": ("score", spearman),
    "cosine_ap": ("label", lambda gold, cosines, weights: average_precision(cosines, gold > 0, weights)),
}
"""Metrics of a whole list of pairs: what the gold values are called among the examples, and how they are computed."""
_RECALL = re.compile(r"(image|text)_retrieval_recall@(\d+)")
_ACCURACY = re.compile(r"acc([15])")
_SEED_OF_HALVES = 0

Half: TypeAlias = Literal[0, 1]
Outcomes: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64] | None]
"""``(N,)`` outcomes and their ``(N,)`` groups, None where each stands for itself."""


@dataclass(frozen=True)
class Change:
    """One metric before and after.

    Attributes:
        dataset: what was judged on.
        task: by what task.
        metric: its name.
        before: a fraction.
        after: a fraction.
        comparison: after minus before on the same examples, with an interval; None where outcomes of single examples
            are not kept, or there are too few of them.
        is_guard: the data stand for what is not to be forgotten.
    """

    dataset: str
    task: str
    metric: str
    before: float
    after: float
    comparison: PairedComparison | None
    is_guard: bool = False


@dataclass(frozen=True)
class TradeOff:
    """What is gained against what is kept, between two states of a model.

    Attributes:
        points: ``(label, kept, gained)``, fractions, in order from the first state to the second.
        chosen: the label of the recommended one.
        changes: from the first state to the recommended one, on examples that took no part in choosing it.
    """

    points: tuple[tuple[str, float, float], ...]
    chosen: str
    changes: tuple[Change, ...]


def compare_results(
    before: Sequence[TaskResult],
    after: Sequence[TaskResult],
    *,
    is_guard: bool = False,
    half: Half | None = None,
    intervals: bool = True,
) -> list[Change]:
    """Return how the main metrics of each task changed: recall at 1 in both directions, accuracy.

    A task with none of these is seen by the first of its headline metrics that is a fraction.

    Args:
        before: results of one state of a model.
        after: those of another, by the same tasks in the same order.
        is_guard: what to call them.
        half: look at one half of the queries or pictures alone, whole groups drawn by chance, the same ones in every
            call: something can be chosen by one half and reported by the other. Metrics without outcomes of single
            examples are then left out.
        intervals: compare examples in pairs; false is for those who want the values alone, which takes no resampling.

    Raises:
        EvaluationError: the tasks differ, or the examples that they were judged on.
    """
    tasks = [[(result.dataset, result.task) for result in results] for results in (before, after)]
    if tasks[0] != tasks[1]:
        raise EvaluationError(f"results must be of the same tasks, got {tasks[0]} before and {tasks[1]} after")
    found = []
    for first, second in zip(before, after, strict=True):
        for metric in main_metrics(second):
            values = _values(first, second, metric) if half is None else _values_of(first, second, metric, half)
            if values is not None:
                comparison = _compare(first, second, metric, half) if intervals else None
                found.append(Change(second.dataset, second.task, metric, *values, comparison, is_guard))
    return found


def _values(before: TaskResult, after: TaskResult, metric: str) -> tuple[float, float] | None:
    old, new = before.metrics.get(metric), after.metrics[metric]
    return None if old is None or new is None else (old, new)


def _values_of(before: TaskResult, after: TaskResult, metric: str, half: Half) -> tuple[float, float] | None:
    values = [_value_of(result, metric, half) for result in (before, after)]
    return None if values[0] is None or values[1] is None else (values[0], values[1])


def _value_of(result: TaskResult, metric: str, half: Half) -> float | None:
    """Return a metric of one half of the examples, None where that cannot be told."""
    found, ranked = _half_of(outcomes(result, metric), half), ranked_pairs(result, metric)
    if found is not None:
        return float(found[0].mean()) if len(found[0]) else None
    if ranked is None:
        return None
    cosines, compute, groups = ranked
    return float(compute(half_of(len(cosines), groups, half)[None].astype(np.float64))[0, 0])


def _half_of(found: Outcomes | None, half: Half | None) -> Outcomes | None:
    """Keep the outcomes of one half of the groups; all where no half is asked for."""
    if found is None or half is None:
        return found
    values, groups = found
    kept = half_of(len(values), groups, half)
    return values[kept], None if groups is None else groups[kept]


def half_of(num_examples: int, groups: NDArray[np.int64] | None, half: Half) -> NDArray[np.bool_]:
    """Return ``(N,)`` marks of the examples of one half of the groups, drawn by chance, always the same ones."""
    names, place = np.unique(np.arange(num_examples) if groups is None else groups, return_inverse=True)
    order = np.random.default_rng(_SEED_OF_HALVES).permutation(len(names))
    marks: NDArray[np.bool_] = (order < len(names) // 2)[place] == (half == 0)
    return marks


def outcomes(result: TaskResult, metric: str) -> Outcomes | None:
    """Return what ``metric`` is the mean of.

    Returns:
        ``(N,)`` outcomes in [0, 1], one for each query or picture, and ``(N,)`` groups of those that belong together,
        None where each stands for itself; None where the result keeps no such outcomes.
    """
    examples, recall, accuracy = result.examples, _RECALL.fullmatch(metric), _ACCURACY.fullmatch(metric)
    if recall and f"{recall[1]}_retrieval_rank" in examples:
        # Texts look for pictures in image retrieval, and pictures for texts in text retrieval.
        queries = {"image": "text", "text": "image"}[recall[1]]
        ranks = examples[f"{recall[1]}_retrieval_rank"]
        return (ranks <= int(recall[2])).astype(np.float64), examples[f"{queries}_group"]
    if accuracy and "rank" in examples:
        return (examples["rank"] <= int(accuracy[1])).astype(np.float64), examples.get("group")
    if metric == "acc1" and "prediction" in examples:
        return (examples["prediction"] == examples["label"]).astype(np.float64), examples.get("group")
    draws = examples.get(f"prediction{metric.removeprefix('acc1')}") if metric.startswith("acc1@") else None
    if draws is not None:
        return (draws == examples["label"][:, None]).mean(axis=1), examples.get("group")
    if metric in examples:  # kept under the name of what it is the mean of
        return examples[metric].astype(np.float64), examples.get("group")
    return None


def ranked_pairs(
    result: TaskResult, metric: str
) -> tuple[NDArray[np.float32], Statistic, NDArray[np.int64] | None] | None:
    """Return the cosines, the metric as a statistic of the pairs, 0 where it does not exist, and their groups."""
    gold_name, compute = _RANKED.get(metric, ("no such", spearman))
    examples = result.examples
    if not {gold_name, "cosine"} <= examples.keys():
        return None
    gold, cosines = examples[gold_name], examples["cosine"]

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.nan_to_num(compute(gold, cosines, weights), nan=0.0)[:, None])

    return cosines, statistic, examples.get("group")


def main_metrics(result: TaskResult) -> list[str]:
    """Return the names of the metrics that a result is compared by; where it has none of the usual, its first."""
    main = [name for name in MAIN_METRICS if name in result.metrics]
    return main or [name for name in result.headline if result.unit(name) == "fraction"][:1]


def _compare(before: TaskResult, after: TaskResult, metric: str, half: Half | None) -> PairedComparison | None:
    old, new = _half_of(outcomes(before, metric), half), _half_of(outcomes(after, metric), half)
    if old is None or new is None:
        return _compare_ranked(before, after, metric, half)
    if old[0].shape != new[0].shape:
        raise EvaluationError(f"{after.dataset}: judged on {len(old[0])} examples before and {len(new[0])} after")
    if len(np.unique(new[1]) if new[1] is not None else new[0]) < 2:
        return None
    return paired_bootstrap(new[0], old[0], new[1])


def _compare_ranked(before: TaskResult, after: TaskResult, metric: str, half: Half | None) -> PairedComparison | None:
    old, new = ranked_pairs(before, metric), ranked_pairs(after, metric)
    if old is None or new is None:
        return None
    num_pairs, groups = len(new[0]), new[2]
    if len(old[0]) != num_pairs:
        raise EvaluationError(f"{after.dataset}: judged on {len(old[0])} examples before and {num_pairs} after")
    kept = np.flatnonzero(np.ones(num_pairs) if half is None else half_of(num_pairs, groups, half))
    kept_groups = None if groups is None else groups[kept]

    def difference(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        every = np.zeros((len(weights), num_pairs))
        every[:, kept] = weights
        return new[1](every) - old[1](every)

    if len(kept if kept_groups is None else np.unique(kept_groups)) < 2:
        return None
    return paired_bootstrap_of(difference, len(kept), kept_groups)


def format_changes(found: Sequence[Change], last: str = "after") -> str:
    """Return an aligned plain-text table, percents: before, after, and their difference with its 95% interval.

    Args:
        found: a row each.
        last: what to call the state that before is compared with.
    """
    head = ("", "before", last, "difference", "95% interval")
    lines = [head, *(cells_of(change) for change in found)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def cells_of(change: Change) -> tuple[str, str, str, str, str]:
    """Return a change as cells: what, before, after, difference, its interval."""
    interval = change.comparison.interval if change.comparison else None
    return (
        f"{'guard ' if change.is_guard else ''}{change.dataset} {change.metric}",
        f"{100 * change.before:.1f}",
        f"{100 * change.after:.1f}",
        f"{100 * (change.after - change.before):+.1f}",
        "" if interval is None else f"[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]",
    )
