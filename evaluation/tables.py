"""Results as the cells of a plain table: fractions times 100, intervals in brackets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.results import TaskResult, Unit
from evaluation.statistics import Interval

COLUMNS = ("dataset", "task", "metric", "value", "95% interval", "chance")
NUM_TEXT_COLUMNS = 3
"""The first so many columns are words, aligned to the left; the others are numbers."""


@dataclass(frozen=True)
class MetricRow:
    """One line of a table, formatted.

    Attributes:
        dataset: what was judged on, and whether on its first rows only.
        task: ``retrieval``, ``zeroshot`` for short, ``knn`` ...
        metric: its name.
        value: ``"52.7"`` for the fraction 0.527, ``"n/a (reason)"`` where there is none.
        interval: ``"[50.5, 54.9]"`` or empty.
        chance: ``"0.1"`` or empty.
    """

    dataset: str
    task: str
    metric: str
    value: str
    interval: str
    chance: str

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of `COLUMNS`."""
        return (self.dataset, self.task, self.metric, self.value, self.interval, self.chance)


def metric_rows(results: Sequence[TaskResult], *, headline_only: bool = True) -> list[MetricRow]:
    """Return one row per result and metric; only the headline metrics, of results that name any, by default."""
    return [
        MetricRow(
            dataset=dataset_cell(result),
            task="zeroshot" if result.task == "zeroshot_classification" else result.task,
            metric=name,
            value=format_metric(result, name),
            interval=format_interval(result.intervals.get(name), result.unit(name)),
            chance=format_value(result.chance[name], result.unit(name)) if name in result.chance else "",
        )
        for result in results
        for name in ((headline_only and result.headline) or result.metrics)
    ]


def dataset_cell(result: TaskResult) -> str:
    """Return the name of the data, which says so where only its first rows were judged."""
    return f"{result.dataset} (first rows only)" if result.is_partial else result.dataset


def format_table(results: Sequence[TaskResult], *, headline_only: bool = True) -> str:
    """Return an aligned plain-text table with a head line, numbers to the right; no trailing line break."""
    lines = [COLUMNS, *(row.cells() for row in metric_rows(results, headline_only=headline_only))]
    return align(lines, NUM_TEXT_COLUMNS)


def align(lines: Sequence[tuple[str, ...]], num_text_columns: int) -> str:
    """Return lines of cells as columns, the first ``num_text_columns`` to the left, the others to the right."""
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < num_text_columns else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def format_metric(result: TaskResult, name: str) -> str:
    """Return metric ``name`` as a table has it, or ``n/a`` with its reason."""
    value = result.metrics[name]
    return f"n/a ({result.reasons[name]})" if value is None else format_value(value, result.unit(name))


def format_value(value: float, unit: Unit) -> str:
    """Return a fraction times 100 and a rank to one decimal, a count without any, another number to two."""
    shown = {"fraction": f"{100 * value:.1f}", "rank": f"{value:.1f}", "count": f"{value:,.0f}"}
    return shown.get(unit, f"{value:.2f}")


def format_interval(interval: Interval | None, unit: Unit) -> str:
    """Return ``[low, high]`` formatted as values are, or an empty string."""
    return f"[{format_value(interval.low, unit)}, {format_value(interval.high, unit)}]" if interval else ""
