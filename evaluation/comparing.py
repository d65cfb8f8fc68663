"""Models compared by results of the same tasks: aligned by example, resampled together, corrected for many pairs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.changes import main_metrics
from evaluation.comparison import Comparison, MetricComparison, Pair, ResultsByModel, Score
from evaluation.errors import EvaluationError
from evaluation.multiple_comparisons import compare_over_seeds, holm, spread_over_seeds
from evaluation.pairing import mismatches, resampled
from evaluation.results import TaskResult
from evaluation.statistics import (
    CONFIDENCE,
    RESAMPLES,
    Interval,
    PairedComparison,
    bootstrap,
    compare_samples,
    percentile_intervals,
    stratified_mean,
    units_of,
)

RESAMPLES_PER_PAIR = 200
"""Holm multiplies the smallest p-value by the number of pairs, so that it must be able to be that much smaller."""

Key: TypeAlias = tuple[str, str, str, str]
"""Data set, task, split, language."""
ByModel: TypeAlias = dict[str, list[TaskResult]]
"""Of each model one result for each of its runs."""


@dataclass(frozen=True)
class _Judged:
    """The same metric of several models: ``(runs,)`` values of each, and ``(R,)`` bootstrap values where known."""

    datasets: tuple[str, ...]
    task: str
    metric: str
    num_examples: int
    runs: dict[str, NDArray[np.float64]]
    stored: dict[str, Interval | None]
    samples: dict[str, NDArray[np.float64]]
    num_units: int


def compare(
    results: ResultsByModel,
    *,
    metrics: Sequence[str] = (),
    resamples: int | None = None,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare models by whatever tasks several of them were judged by, on the same examples, in pairs.

    Within one task and data set the models must have been judged on the same examples, with the same prompts, precision
    and protocol; those that differ from the first are left out there, and named with what differs. Examples are aligned
    by their ids. P-values are Holm's over the pairs of one metric on one data set. Two models of several runs each are
    compared over their runs, by Welch's test; a model of one run is compared example by example.

    Args:
        results: of each model by its name; `evaluation.read_results` reads them from folders.
        metrics: which to look at, in tasks that have them; by default the main ones of each task.
        resamples: of the bootstrap; by default 2,000, and more for many pairs.
        seed: of the bootstrap.
        confidence: of the intervals; pairs are told apart where p is below one less it.

    Raises:
        EvaluationError: no results, a metric that none of them has or that is no fraction, or models of which no two
            can be compared.
    """
    if not any(results.values()):
        raise EvaluationError("there is nothing to compare: no results")
    num_pairs = len(results) * (len(results) - 1) // 2
    resamples = resamples or max(RESAMPLES, RESAMPLES_PER_PAIR * num_pairs)
    _check_metrics(results, metrics)
    left_out: list[str] = []
    judged: list[_Judged] = []
    for key, by_model in _by_task(results).items():
        kept = _comparable(key, by_model, left_out)
        chosen = _metrics_of(kept, metrics)
        if kept and not chosen and not metrics:
            left_out.append(f"{key[0]} {key[1]}: no fraction among its headline metrics, of which more would be better")
        for metric in chosen:
            judged.append(_judge(key, metric, kept, resamples, seed, left_out))
    if len(results) > 1 and not any(len(one.runs) > 1 for one in judged):
        why = "".join(f"\n  {line}" for line in left_out)
        raise EvaluationError(f"no two of {', '.join(results)} can be compared:{why}")
    by_dataset = tuple(_compared(one, confidence) for one in judged)
    means = tuple(_compared(one, confidence) for one in _means(judged, left_out))
    return Comparison(tuple(results), by_dataset, means, tuple(left_out), results)


def _check_metrics(results: ResultsByModel, metrics: Sequence[str]) -> None:
    every = [result for several in results.values() for result in several]
    known = list(dict.fromkeys(name for result in every for name in result.metrics))
    for name in metrics:
        if name not in known:
            raise EvaluationError(f'no result has a metric "{name}" (known: {", ".join(known)})')
        unit = next(result.unit(name) for result in every if name in result.metrics)
        if unit != "fraction":
            raise EvaluationError(f'only fractions are compared, of which more is better; "{name}" is a {unit}')


def _by_task(results: ResultsByModel) -> dict[Key, ByModel]:
    found: dict[Key, ByModel] = {}
    for model, several in results.items():
        for result in several:
            key = (result.dataset, result.task, result.split, result.language)
            found.setdefault(key, {}).setdefault(model, []).append(result)
    return found


def _comparable(key: Key, by_model: ByModel, left_out: list[str]) -> ByModel:
    """Return the models that were judged as the first was, and say of the others what differs."""
    what = f"{key[0]} {key[1]}"
    kept: ByModel = {}
    for model, several in by_model.items():
        first = next(iter(kept.values()), several)[0]
        if any(result.is_partial for result in several):
            left_out.append(f"{what}: {model} was judged on the first rows only")
            continue
        wrong = next((found for result in several if (found := mismatches(first, result))), None)
        if wrong:
            reference = next(iter(kept), model)
            left_out.append(f"{what}: {model} is not comparable with {reference}: {'; '.join(wrong)}")
            continue
        kept[model] = several
    return kept


def _metrics_of(by_model: ByModel, asked: Sequence[str]) -> list[str]:
    if not by_model:
        return []
    first = next(iter(by_model.values()))[0]
    return [name for name in asked if name in first.metrics] if asked else main_metrics(first)


def _judge(key: Key, metric: str, by_model: ByModel, resamples: int, seed: int, left_out: list[str]) -> _Judged:
    runs: dict[str, NDArray[np.float64]] = {}
    for model, several in by_model.items():
        values = [result.metrics.get(metric) for result in several]
        if None in values:
            reason = next(result.reasons.get(metric, "not judged") for result in several)
            left_out.append(f"{key[0]} {key[1]}: {metric} of {model} does not exist: {reason}")
        else:
            runs[model] = np.array(values, dtype=np.float64)
    # Data sets are drawn independently of each other, and the same whatever else is compared.
    seeds = (seed, zlib.crc32(repr(key).encode()))
    samples, num_units = _sampled({model: by_model[model] for model in runs}, metric, resamples, seeds)
    for model in [model for model in runs if model not in samples and len(runs) > 1]:
        left_out.append(f"{key[0]} {key[1]}: {metric} of {model} is shown but not compared: no outcomes of examples")
    first = next(iter(by_model.values()))[0]
    stored = {model: by_model[model][0].intervals.get(metric) for model in runs}
    return _Judged((key[0],), key[1], metric, first.num_examples, runs, stored, samples, num_units)


def _sampled(
    by_model: ByModel, metric: str, resamples: int, seed: tuple[int, int]
) -> tuple[dict[str, NDArray[np.float64]], int]:
    """Draw examples once for all models that keep theirs; of several runs, the mean in each draw."""
    found = {model: [resampled(result, metric) for result in several] for model, several in by_model.items()}
    known = {model: [one for one in several if one] for model, several in found.items() if None not in several}
    if not known:
        return {}, 0
    first = next(iter(known.values()))[0]
    statistics = {model: [one.in_order_of(first.ids).statistic for one in several] for model, several in known.items()}
    num_units = units_of(len(first.ids), first.groups)[1]
    if num_units < 2:
        return {}, num_units

    def every(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.hstack(
            [np.mean([statistic(weights) for statistic in several], axis=0) for several in statistics.values()]
        )

    drawn = bootstrap(every, len(first.ids), first.groups, resamples=resamples, seed=seed)
    return dict(zip(statistics, drawn.T, strict=True)), num_units


def _means(judged: Sequence[_Judged], left_out: list[str]) -> Iterator[_Judged]:
    """Yield the means over data sets, of the models that were judged on all of them."""
    by_metric: dict[tuple[str, str], list[_Judged]] = {}
    for one in [one for one in judged if len(one.runs) > 1] or judged:  # what one model alone has compares nothing
        by_metric.setdefault((one.task, one.metric), []).append(one)
    for (task, metric), several in by_metric.items():
        models = list(dict.fromkeys(model for one in several for model in one.runs))
        everywhere = [model for model in models if all(model in one.runs for one in several)]
        if len(several) < 2 or not everywhere:
            continue
        for model in [model for model in models if model not in everywhere]:
            num_judged = sum(model in one.runs for one in several)
            left_out.append(f"mean of {task} {metric}: {model} was judged on {num_judged} of {len(several)} data sets")
        known = [model for model in everywhere if all(model in one.samples for one in several)]
        samples = [np.column_stack([one.samples[model] for model in known]) for one in several] if known else []
        drawn = stratified_mean(samples).T if known else ()
        yield _Judged(
            datasets=tuple(dataset for one in several for dataset in one.datasets),
            task=task,
            metric=metric,
            num_examples=sum(one.num_examples for one in several),
            runs={model: _mean_of_runs([one.runs[model] for one in several]) for model in everywhere},
            stored=dict.fromkeys(everywhere),
            samples=dict(zip(known, drawn, strict=True)),
            num_units=sum(one.num_units for one in several),
        )


def _mean_of_runs(runs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean over data sets of each run; one mean where the data sets have differently many."""
    if len({len(values) for values in runs}) == 1:
        return np.asarray(np.mean(runs, axis=0))
    return np.array([np.mean([values.mean() for values in runs])])


def _compared(judged: _Judged, confidence: float) -> MetricComparison:
    scores = [_score(judged, model, confidence) for model in judged.runs]
    scores.sort(key=lambda score: -score.value)
    pairs = list(_pairs(judged, [score.model for score in scores], confidence))
    adjusted = holm([comparison.p_value for _, _, comparison in pairs]).tolist()
    return MetricComparison(
        datasets=judged.datasets,
        task=judged.task,
        metric=judged.metric,
        num_examples=judged.num_examples,
        scores=tuple(scores),
        pairs=tuple(Pair(*pair, p) for pair, p in zip(pairs, adjusted, strict=True)),
    )


def _score(judged: _Judged, model: str, confidence: float) -> Score:
    runs = judged.runs[model]
    if len(runs) > 1:
        spread = spread_over_seeds(runs.tolist(), confidence)
        return Score(model, spread.mean, spread.interval, spread.std, spread.num_runs)
    interval = judged.stored[model]  # as every table has it
    if model in judged.samples and (interval is None or interval.confidence != confidence):
        interval = percentile_intervals(judged.samples[model][:, None], judged.num_units, confidence)[0]
    # Resamples of average precision of rare classes all lie above it: no interval then.
    return Score(model, float(runs[0]), interval if interval and interval.holds(float(runs[0])) else None)


def _pairs(judged: _Judged, models: Sequence[str], confidence: float) -> Iterator[tuple[str, str, PairedComparison]]:
    for first, second in combinations(models, 2):
        runs = [judged.runs[model] for model in (first, second)]
        if min(map(len, runs)) > 1:
            yield first, second, compare_over_seeds(runs[0].tolist(), runs[1].tolist(), confidence)
        elif {first, second} <= judged.samples.keys():
            samples = judged.samples[first] - judged.samples[second]
            difference = float(runs[0].mean() - runs[1].mean())
            yield first, second, compare_samples(samples, difference, judged.num_units, confidence)
