"""CLIP_benchmark's published results beside one's own, where data set, model and weights are the same."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.comparison import ResultsByModel
from evaluation.errors import EvaluationError
from evaluation.results import TaskResult
from evaluation.statistics import Interval
from evaluation.tables import align, format_interval, format_value

COLUMNS = ("dataset", "model", "metric", "ours", "95% interval", "published", "difference", "")
_NUM_TEXT_COLUMNS = 3
_KEYS = ("dataset", "model", "pretrained", "task")
_TASKS = {"retrieval": "zeroshot_retrieval", "multilabel_zeroshot_classification": "zeroshot_classification"}
"""What CLIP_benchmark calls tasks that have another name here."""
_STORED_AS = "wds/"
"""How its data sets begin that were read from webdataset; the data are the same."""


@dataclass(frozen=True)
class Published:
    """One metric of one's own beside the published one, both fractions.

    Attributes:
        dataset: as the result calls it.
        model: architecture and weights.
        metric: its name.
        ours: of one's own result.
        interval: of that, None where it has none.
        published: the number in the table.
    """

    dataset: str
    model: str
    metric: str
    ours: float
    interval: Interval | None
    published: float

    @property
    def is_inside(self) -> bool | None:
        """Whether the published number lies in the interval, None where there is none."""
        return None if self.interval is None else self.interval.low <= self.published <= self.interval.high


def read_published(path: str | Path) -> list[dict[str, str]]:
    """Return the rows of a table of results, such as ``benchmark/benchmark.csv`` of CLIP_benchmark's repository.

    Raises:
        EvaluationError: a file that cannot be read, or lacks one of the columns dataset, model, pretrained and task.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path}: {error}") from error
    columns = list(rows[0]) if rows else []
    missing = [name for name in _KEYS if name not in columns]
    if missing:
        raise EvaluationError(
            f"{path}: a table of published results has columns {', '.join(_KEYS)} and metrics; "
            f"{', '.join(missing)} missing (there: {', '.join(map(str, columns)) or 'nothing'})"
        )
    return rows


def beside_published(results: ResultsByModel, rows: Sequence[dict[str, str]]) -> list[Published]:
    """Return the metrics that both have, of the same data set, model, weights, task and language.

    Rows without a language are English. Of the first rows only nothing is published, and no such result is shown.
    """
    found = []
    by_key = {_key([row[name] for name in _KEYS], row.get("language")): row for row in rows}
    for result in (result for several in results.values() for result in several if not result.is_partial):
        names = (result.dataset, result.model, result.pretrained, _TASKS.get(result.task, result.task))
        row = by_key.get(_key(names, result.language), {})
        for metric, ours in result.metrics.items():
            published = _number(row.get(metric))
            if ours is not None and published is not None:
                found.append(_published(result, metric, ours, published))
    return found


def _published(result: TaskResult, metric: str, ours: float, published: float) -> Published:
    model = f"{result.model},{result.pretrained}"
    return Published(result.dataset, model, metric, ours, result.intervals.get(metric), published)


def _key(names: Sequence[str], language: str | None) -> tuple[str, ...]:
    return names[0].removeprefix(_STORED_AS), *names[1:], language or "en"


def _number(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def format_published(found: Sequence[Published]) -> str:
    """Return an aligned plain-text table, percents: ours, published, ours less published; or that nothing overlaps."""
    if not found:
        return "nothing is published of the same data set, model and weights"
    said = {True: "inside", False: "outside", None: ""}
    lines = [
        (
            one.dataset,
            one.model,
            one.metric,
            format_value(one.ours, "fraction"),
            format_interval(one.interval, "fraction"),
            format_value(one.published, "fraction"),
            f"{100 * (one.ours - one.published):+.1f}",
            said[one.is_inside],
        )
        for one in found
    ]
    return align([COLUMNS, *lines], _NUM_TEXT_COLUMNS)
