"""The result of one task for one model: a small JSON file, with the outcome of every example beside it."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.class_scores import ClassScores
from evaluation.errors import EvaluationError
from evaluation.exhibits import Exhibits
from evaluation.predictions import SUFFIX, read_examples, write_predictions
from evaluation.statistics import Interval

Unit: TypeAlias = Literal["fraction", "rank", "count", "number"]
"""A number is shown as it is: a distance, a cosine."""

CHOSEN = "chosen"
"""Under this name a protocol has what was chosen for the model at hand; all else is the same for every model."""

_NOT_IN_JSON = ("examples", "class_names", "exhibits")


@dataclass(frozen=True)
class TaskResult:
    """What one task found out about one model.

    Attributes:
        dataset: what was judged on.
        model: the embedder's name.
        task: for example ``retrieval``.
        metrics: by name; fractions in [0, 1] unless ``units`` says otherwise; None where a value does not exist.
        num_examples: pictures, or whatever ``example_name`` says, judged.
        example_name: what the examples are, in the plural.
        pretrained: tag of the weights, empty where unknown.
        language: of the texts, an ISO 639-1 code.
        split: of the data set.
        reasons: why a metric is None, for each that is.
        intervals: bootstrap 95% intervals of the metrics that have one.
        per_class: precision, recall and F1 of each class by its name, in the order of the classes; empty where there
            are no classes.
        chance: what random answers are expected to reach, where that is known.
        units: of the metrics that are not fractions.
        headline: the metrics to show first.
        notes: plain sentences a reader of the numbers should know.
        fingerprint: of the embedder.
        template_hash: SHA-256 of the filled prompts, for tasks that have them.
        preprocessing: what was done to pictures, plain JSON values, or None where unknown.
        precision: of the towers while they encoded, such as ``fp32``; empty where unknown.
        is_partial: only the first rows of the data were judged, because a limit was asked for.
        protocol: settings the numbers depend on, such as a k or a weight decay, plain JSON values; see `CHOSEN`.
        versions: of the libraries in use.
        examples: per-example outcomes by name, arrays whose first axis is the examples; not in the JSON but in a
            parquet file beside it, and not compared.
        class_names: of the indices in ``examples``, where they are of classes; kept with them.
        exhibits: what a report shows; not in the JSON and not compared.

    Raises:
        EvaluationError: a metric that is NaN or infinite, or None without a reason.
    """

    dataset: str
    model: str
    task: str
    metrics: Mapping[str, float | None]
    num_examples: int
    example_name: str = "pictures"
    pretrained: str = ""
    language: str = "en"
    split: str = "test"
    reasons: Mapping[str, str] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    per_class: Mapping[str, ClassScores] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, Unit] = field(default_factory=dict)
    headline: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    template_hash: str | None = None
    preprocessing: Mapping[str, Any] | None = None
    precision: str = ""
    is_partial: bool = False
    protocol: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False, repr=False)
    class_names: tuple[str, ...] = field(default=(), compare=False, repr=False)
    exhibits: Exhibits = field(default_factory=Exhibits, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if value is None and name not in self.reasons:
                raise EvaluationError(f"metric {name} is null and must have a reason")
            if value is not None and not math.isfinite(value):
                raise EvaluationError(f"metric {name} must be finite, or null with a reason, got {value}")
        unknown = [name for name in (*self.headline, *self.intervals, *self.reasons) if name not in self.metrics]
        if unknown:
            raise EvaluationError(f'"{unknown[0]}" is no metric of this result ({", ".join(self.metrics)})')
        for name in ("preprocessing", "protocol"):  # as JSON will give it back, tuples as lists
            plain = json.loads(json.dumps(getattr(self, name), default=_plain))
            object.__setattr__(self, name, plain)

    def unit(self, metric: str) -> Unit:
        """Return the unit of ``metric``; a fraction unless said otherwise."""
        return self.units.get(metric, "fraction")

    def to_json(self) -> str:
        """Return the result as JSON, fractions as fractions, keys as CLIP_benchmark has them; never NaN."""
        fields = (one.name for one in dataclasses.fields(self) if one.name not in _NOT_IN_JSON)
        record = {name: getattr(self, name) for name in fields}
        for name in ("intervals", "per_class"):
            record[name] = {key: dataclasses.asdict(one) for key, one in getattr(self, name).items()}
        return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TaskResult:
        """Return the result that `to_json` wrote, without examples and exhibits.

        Raises:
            EvaluationError: text that is not a result file.
        """
        try:
            record = json.loads(text)
            record["intervals"] = {name: Interval(**one) for name, one in record.get("intervals", {}).items()}
            record["per_class"] = {name: _class_scores(one) for name, one in record.get("per_class", {}).items()}
            record["headline"] = tuple(record.get("headline", ()))
            record["notes"] = tuple(record.get("notes", ()))
            return cls(**record)
        except EvaluationError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise EvaluationError(f"not a result file: {error}") from error

    def write(self, path: str | Path) -> Path:
        """Write the JSON to ``path``, and the examples to a parquet file of that name, where there are any.

        The folder is made if need be; an older file is replaced whole or not at all.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.examples:
            write_predictions(path.with_suffix(SUFFIX), self)
        else:
            path.with_suffix(SUFFIX).unlink(missing_ok=True)
        aside = path.with_name(path.name + ".part")
        aside.write_text(self.to_json(), encoding="utf-8")
        aside.replace(path)
        return path

    @classmethod
    def read(cls, path: str | Path) -> TaskResult:
        """Return the result stored at ``path``, with its examples where they are beside it.

        Raises:
            EvaluationError: a file that is missing or not a result.
        """
        path = Path(path)
        try:
            result = cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, EvaluationError) as error:
            raise EvaluationError(f"{path}: {error}") from error
        if not path.with_suffix(SUFFIX).is_file():
            return result
        examples, class_names = read_examples(path.with_suffix(SUFFIX))
        return dataclasses.replace(result, examples=examples, class_names=class_names)

    def _repr_html_(self) -> str:
        from evaluation.tables import COLUMNS, metric_rows  # tables are made of results

        first = COLUMNS.index("metric")  # the title says the rest
        title = f"{self.task} on {self.dataset} ({self.split}), {self.model}"
        head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS[first:])
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row.cells()[first:]) + "</tr>"
            for row in metric_rows([self], headline_only=False)
        )
        return f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{rows}</table>"


def library_versions(
    names: tuple[str, ...] = ("mmcl", "numpy", "pillow", "scikit-learn", "torch", "transformers"),
) -> dict[str, str]:
    """Return the installed versions of ``names``, without importing them; what is not installed is left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _class_scores(record: dict[str, Any]) -> ClassScores:
    interval = record.get("recall_interval")
    return ClassScores(**{**record, "recall_interval": None if interval is None else Interval(**interval)})


def _plain(value: object) -> object:
    """Turn what settings may hold besides JSON's own types into them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"cannot write {type(value).__name__} to JSON: {value!r}")
