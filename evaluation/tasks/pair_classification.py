"""Pair classification: do the cosines of texts that belong together lie above those of other pairs?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedder
from evaluation.errors import EvaluationError
from evaluation.exhibits import Exhibits, most_misjudged
from evaluation.metrics import average_precision, best_accuracy, best_f1, paired_cosines
from evaluation.results import TaskResult
from evaluation.statistics import Statistic
from evaluation.tasks.task import embed_texts
from evaluation.tasks.text_task import TextTask

METRICS = ("cosine_ap", "cosine_accuracy", "cosine_f1")


@dataclass(frozen=True, kw_only=True)
class PairClassificationTask(TextTask):
    """Tell pairs of texts that belong together from others by their cosine.

    Metrics: ``cosine_ap``, average precision; ``cosine_accuracy`` and ``cosine_f1``, each at the threshold that is best
    on these very pairs, as MTEB has them, with that threshold as ``cosine_accuracy_threshold`` and
    ``cosine_f1_threshold`` (see `evaluation.metrics.pair_classification`). In the interval every resample has its own.

    Attributes:
        first: N texts.
        second: the N others.
        labels: ``(N,)`` 1 or true for pairs that belong together, 0 or false for others; both have to occur.

    Raises:
        EvaluationError: no pairs, lengths that differ, texts that are none, labels that are not these.
    """

    task: ClassVar[str] = "pair_classification"

    first: Sequence[str]
    second: Sequence[str]
    labels: Sequence[bool | int] | NDArray[Any]

    def __post_init__(self) -> None:
        self._check_rows(first=self.first, second=self.second, labels=self.labels)
        self._check_texts("text", [*self.first, *self.second])
        found = set(np.asarray(self.labels).tolist())
        if not found <= {0, 1}:
            raise EvaluationError(f"{self.dataset}: labels must be 0 or 1, got {sorted(found - {0, 1}, key=str)[0]!r}")
        if len(found) < 2:
            raise EvaluationError(f"{self.dataset}: pairs of both labels needed, 0 and 1, got {found.pop():d} alone")

    @cached_property
    def _is_pair(self) -> NDArray[np.bool_]:
        return np.asarray(self.labels).astype(bool)

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return average precision, best accuracy and best F1 with intervals, and the pairs most misjudged.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        first, second = embed_texts(embedder, self.first), embed_texts(embedder, self.second)
        cosines, labels = paired_cosines(first, second), self._is_pair
        _, accuracy = best_accuracy(cosines, labels)
        _, f1 = best_f1(cosines, labels)
        metrics = {
            "cosine_ap": float(average_precision(cosines, labels)[0]),
            "cosine_accuracy": accuracy.value if accuracy else None,
            "cosine_accuracy_threshold": accuracy.threshold if accuracy else None,
            "cosine_f1": f1.value if f1 else None,
            "cosine_f1_threshold": f1.threshold if f1 else None,
        }
        share = float(labels.mean())
        return self._result(
            embedder,
            metrics,
            len(labels),
            {"cosine": cosines, "label": labels.astype(np.int64)},
            reasons={name: "all cosines are equal" for name, value in metrics.items() if value is None},
            intervals={
                name: interval
                for name, interval in self._intervals(METRICS, self._statistic(cosines), len(labels)).items()
                if metrics[name] is not None
            },
            chance={"cosine_ap": share, "cosine_accuracy": max(share, 1 - share), "cosine_f1": 2 * share / (1 + share)},
            units={"cosine_accuracy_threshold": "number", "cosine_f1_threshold": "number"},
            headline=METRICS,
            notes=tuple(self._notes(cosines)),
            exhibits=Exhibits(text_pairs=most_misjudged(self.first, self.second, labels.astype(float), cosines)),
        )

    def _statistic(self, cosines: NDArray[np.float32]) -> Statistic:
        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            values = (
                average_precision(cosines, self._is_pair, weights),
                best_accuracy(cosines, self._is_pair, weights)[0],
                best_f1(cosines, self._is_pair, weights)[0],
            )
            return np.column_stack(values)

        return statistic

    def _notes(self, cosines: NDArray[np.float32]) -> list[str]:
        both = np.intersect1d(cosines[self._is_pair], cosines[~self._is_pair])
        num_tied = int(np.isin(cosines, both).sum())
        if not num_tied:
            return []
        return [
            f"{num_tied:,} of {len(cosines):,} pairs have exactly the cosine of a pair of the other label; "
            "no threshold tells them apart."
        ]
