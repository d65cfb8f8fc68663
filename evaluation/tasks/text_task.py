"""What the tasks of texts alone have in common: their rows checked, their result, their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedder
from evaluation.errors import EvaluationError
from evaluation.results import TaskResult
from evaluation.statistics import RESAMPLES, Interval, Statistic, bootstrap_intervals
from evaluation.tasks.task import example_ids, identify


@dataclass(frozen=True, kw_only=True)
class TextTask:
    """A task that needs nothing of an embedder but ``encode_texts``.

    Attributes:
        dataset: name in results.
        split: name in results.
        language: of the texts, ISO 639-1; of two, both with a hyphen between them.
        groups: ids of examples that are not independent, one each, which intervals resample together; None draws
            single examples.
        ids: of the examples, one each, by which results of several models are paired; by default their places.
        resamples: of the bootstrap.
        seed: of the bootstrap, and of whatever else is drawn.
    """

    task: ClassVar[str]
    example_name: ClassVar[str] = "pairs"

    dataset: str
    split: str = "test"
    language: str = "en"
    groups: Sequence[int] | NDArray[np.int64] | None = None
    ids: Sequence[str] | None = None
    resamples: int = RESAMPLES
    seed: int = 0

    def _check_rows(self, **rows: Sequence[Any] | NDArray[Any]) -> None:
        """Refuse rows that are missing or do not fit, and texts that are none."""
        first, num_rows = next(iter(rows)), len(next(iter(rows.values())))
        if num_rows == 0:
            raise EvaluationError(f"{self.dataset}: {self.task} needs {self.example_name}, got none")
        given = rows if self.groups is None else {**rows, "groups": self.groups}
        for name, values in given.items():
            if len(values) != num_rows:
                found = f"{num_rows}, got {len(values)}"
                raise EvaluationError(f"{self.dataset}: {name} must be as many as {first}, {found}")
        example_ids(self.ids, num_rows, self.dataset)

    def _check_texts(self, what: str, texts: Sequence[Any]) -> None:
        for index, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise EvaluationError(f"{self.dataset}: every {what} must be a text, got {text!r} for {what} {index}")

    def _result(
        self,
        embedder: Embedder,
        metrics: Mapping[str, float | None],
        num_examples: int,
        examples: Mapping[str, NDArray[Any]],
        **fields: Any,
    ) -> TaskResult:
        groups = self._group_ids()
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            language=self.language,
            task=self.task,
            metrics=metrics,
            num_examples=num_examples,
            example_name=self.example_name,
            examples={"id": self._example_ids(num_examples), **examples}
            | ({} if groups is None else {"group": groups}),
            **fields,
        )

    def _group_ids(self) -> NDArray[np.int64] | None:
        """Return the group of each example judged, to resample; None for single examples."""
        return None if self.groups is None else np.asarray(self.groups)

    def _example_ids(self, num_examples: int) -> NDArray[np.str_]:
        """Return the id of each example judged."""
        return example_ids(self.ids, num_examples, self.dataset)

    def _intervals(self, names: Sequence[str], statistic: Statistic, num_examples: int) -> dict[str, Interval]:
        """Return intervals by metric; a resample in which a metric does not exist counts as 0."""
        found = bootstrap_intervals(
            lambda weights: np.nan_to_num(statistic(weights), nan=0.0),
            num_examples,
            self._group_ids(),
            resamples=self.resamples,
            seed=self.seed,
        )
        return dict(zip(names, found, strict=True)) if found else {}
