"""Several models by the same tasks: what each reaches, and which of them are told apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from evaluation.results import TaskResult
from evaluation.statistics import Interval, PairedComparison

ResultsByModel: TypeAlias = Mapping[str, Sequence[TaskResult]]
"""Results by model; several of one task are those of several runs, in the order of the runs."""


@dataclass(frozen=True)
class Score:
    """What one model reaches.

    Attributes:
        model: its name.
        value: a fraction; of several runs the mean.
        interval: by bootstrap over examples, of several runs by Student's t over the runs; None where there is none.
        std: standard deviation over runs, None for one run.
        num_runs: how many differ in their seed alone.
    """

    model: str
    value: float
    interval: Interval | None
    std: float | None = None
    num_runs: int = 1


@dataclass(frozen=True)
class Pair:
    """Two models on the same examples.

    Attributes:
        first: the better one.
        second: the other.
        comparison: the first less the second, with its interval and p-value.
        adjusted_p: by Holm's procedure over all pairs of this comparison.
    """

    first: str
    second: str
    comparison: PairedComparison
    adjusted_p: float

    @property
    def is_told_apart(self) -> bool:
        """Whether chance is an unlikely reason for the difference."""
        return self.adjusted_p < 1 - self.comparison.interval.confidence

    @property
    def is_tie(self) -> bool:
        """Whether both reach exactly the same."""
        return self.comparison.difference == 0


@dataclass(frozen=True)
class MetricComparison:
    """One metric of one task on one data set, or its mean over data sets.

    Attributes:
        datasets: one, or those of the mean, which count equally.
        task: by which was judged.
        metric: its name.
        num_examples: of all data sets together.
        scores: best first.
        pairs: all pairs of models whose outcomes are known, better ones first.
    """

    datasets: tuple[str, ...]
    task: str
    metric: str
    num_examples: int
    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """The data set, or how many the mean is over."""
        return self.datasets[0] if len(self.datasets) == 1 else f"mean over {len(self.datasets)}"

    def pair(self, first: str, second: str) -> Pair | None:
        """Return the pair of two models, in whichever order; None where their outcomes are not known."""
        return next((pair for pair in self.pairs if {pair.first, pair.second} == {first, second}), None)


@dataclass(frozen=True)
class Comparison:
    """Several models by the same tasks.

    Attributes:
        models: their names, in the order given.
        by_dataset: for each data set, task and main metric.
        means: over data sets, of each task and metric that there are several of.
        left_out: what could not be compared and why, a sentence each.
        results: what was compared, by model.
    """

    models: tuple[str, ...]
    by_dataset: tuple[MetricComparison, ...]
    means: tuple[MetricComparison, ...]
    left_out: tuple[str, ...]
    results: ResultsByModel = field(repr=False, compare=False)

    def to_json(self) -> str:
        """Return all of it but the results as JSON, fractions as fractions."""
        record = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "results"}
        return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False, default=dataclasses.asdict) + "\n"

    def _repr_html_(self) -> str:
        from evaluation.comparison_tables import html_table  # tables are made of comparisons

        return html_table(self)
