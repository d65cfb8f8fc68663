"""Several models side by side as a plain table: a column for each, or of many a line for each model and metric."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.results import TaskResult
from evaluation.tables import COLUMNS, NUM_TEXT_COLUMNS, align, format_metric, metric_rows

MOST_COLUMNS = 5
"""More models than that stand below each other."""

BEST = "*"


def model_label(result: TaskResult) -> str:
    """Return what tells a model from others: its name, with the tag of its weights where it has one."""
    has_tag = result.pretrained not in ("", result.model)
    return f"{result.model},{result.pretrained}" if has_tag else result.model


def format_model_table(results: Sequence[TaskResult]) -> str:
    """Return the headline metrics of several models as aligned text, the best of each marked by a star; no trailing
    line break.

    The best is the highest fraction, or the lowest rank; other kinds of numbers have none. Several equally good
    ones are all marked, unless none is worse.
    """
    models = list(dict.fromkeys(map(model_label, results)))
    found: dict[tuple[str, str, str], dict[str, tuple[TaskResult, str]]] = {}
    for result in results:
        for row in metric_rows([result]):
            cells = found.setdefault((row.dataset, row.task, row.metric), {})
            cells[model_label(result)] = (result, row.metric)
    if len(models) > MOST_COLUMNS:
        return _below_each_other(found)
    lines = [(*COLUMNS[:NUM_TEXT_COLUMNS], *models)]
    for key, cells in found.items():
        best = _best(list(cells.values()))
        shown = (cells.get(model) for model in models)
        lines.append((*key, *("" if cell is None else _cell(cell, best) for cell in shown)))
    return align(lines, NUM_TEXT_COLUMNS)


def _below_each_other(found: dict[tuple[str, str, str], dict[str, tuple[TaskResult, str]]]) -> str:
    lines = [(*COLUMNS[:NUM_TEXT_COLUMNS], "model", "value", "95% interval")]
    for key, cells in found.items():
        best = _best(list(cells.values()))
        for model, (result, metric) in cells.items():
            (interval,) = (row.interval for row in metric_rows([result]) if row.metric == metric)
            lines.append((*key, model, _cell((result, metric), best), interval))
    return align(lines, NUM_TEXT_COLUMNS + 1)


def _best(cells: Sequence[tuple[TaskResult, str]]) -> float | None:
    """Return the best value of one metric among models; None where there is none."""
    values = [value for result, metric in cells if (value := result.metrics[metric]) is not None]
    units = {result.unit(metric) for result, metric in cells}
    if len(set(values)) < 2 or not units <= {"fraction", "rank"} or cells[0][1].endswith("_std"):
        return None
    return min(values) if units == {"rank"} else max(values)


def _cell(cell: tuple[TaskResult, str], best: float | None) -> str:
    result, metric = cell
    is_best = best is not None and result.metrics[metric] == best
    return format_metric(result, metric) + (BEST if is_best else " ")
