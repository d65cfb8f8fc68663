"""Linear classifiers on frozen embeddings of pictures, from a handful of labels per class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics import few_label_predictions
from evaluation.metrics.few_label import FEW_LABEL_C, LABELS_PER_CLASS, NUM_SEEDS
from evaluation.statistics import Interval, bootstrap_intervals, mean_of
from evaluation.tasks.labelled_images import Answers, LabelledEmbeddings, LabelledImagesTask


@dataclass(frozen=True, kw_only=True)
class FewLabelTask(LabelledImagesTask):
    """Name each picture's class by logistic regression on 1, 2, 5 or 10 training pictures of each class.

    Metrics, for each number n of labels: ``acc1@n_labels``, the mean accuracy over the seeds' draws, and
    ``acc1@n_labels_std``, the standard deviation over them (of a sample: divided by one less than the seeds). Both are
    null where a class has fewer than n training pictures. Intervals are of the mean over seeds and resample test
    pictures: they say how much the number depends on what was judged, the standard deviation how much it depends on
    which labels were drawn. See `LabelledImagesTask` for rows, labels and errors,
    `evaluation.metrics.few_label_predictions` for the fit.

    Attributes:
        labels_per_class: numbers of labels, each at least 1.
        num_seeds: draws of the labels, at least 1; seeds 0 and on.
        c: inverse weight decay of every fit.
    """

    task: ClassVar[str] = "few_label"

    labels_per_class: tuple[int, ...] = LABELS_PER_CLASS
    num_seeds: int = NUM_SEEDS
    c: float = FEW_LABEL_C

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.labels_per_class or min(self.labels_per_class) < 1:
            raise EvaluationError(
                f"{self.dataset}: labels_per_class must be one or more numbers >= 1, got {list(self.labels_per_class)}"
            )
        if self.num_seeds < 1 or not self.c > 0:
            raise EvaluationError(f"{self.dataset}: num_seeds must be >= 1 and c > 0, got {self.num_seeds}, {self.c}")

    def _settings(self) -> dict[str, Any]:
        return {
            "features": "L2-normalised, not standardised",
            "classifier": "multinomial logistic regression, scikit-learn, lbfgs, L2 penalty",
            "c": self.c,
            "labels_per_class": list(self.labels_per_class),
            "num_seeds": self.num_seeds,
        }

    def _answer(self, data: LabelledEmbeddings) -> Answers:
        smallest, num_rows = min(Counter(map(str, self.train_labels)).items(), key=lambda item: item[1])
        metrics: dict[str, float | None] = {}
        reasons: dict[str, str] = {}
        drawn: dict[str, NDArray[np.int64]] = {}
        for count in self.labels_per_class:
            name, spread = f"acc1@{count}_labels", f"acc1@{count}_labels_std"
            if count > num_rows:
                metrics |= {name: None, spread: None}
                reasons |= dict.fromkeys(
                    (name, spread), f'class "{smallest}" has {num_rows} of the {count} training pictures needed'
                )
                continue
            drawn[name] = self._predictions(data, count)
            per_seed = (drawn[name] == data.test_labels).mean(axis=1)
            metrics |= {name: float(per_seed.mean()), spread: None}
            if self.num_seeds > 1:
                metrics[spread] = float(per_seed.std(ddof=1))
            else:
                reasons[spread] = "one draw has no standard deviation"
        return Answers(
            metrics=metrics,
            reasons=reasons,
            intervals=self._intervals(data, drawn),
            headline=tuple(drawn),
            examples={name.replace("acc1", "prediction"): found.T for name, found in drawn.items()},
        )

    def _predictions(self, data: LabelledEmbeddings, count: int) -> NDArray[np.int64]:
        return few_label_predictions(
            data.train,
            data.train_labels,
            data.test,
            data.num_classes,
            labels_per_class=count,
            num_seeds=self.num_seeds,
            c=self.c,
        )

    def _intervals(self, data: LabelledEmbeddings, drawn: dict[str, NDArray[np.int64]]) -> dict[str, Interval]:
        if not drawn:
            return {}
        shares = np.stack([(found == data.test_labels).mean(axis=0) for found in drawn.values()], axis=1)
        found = bootstrap_intervals(
            mean_of(shares), len(shares), self.group_ids(), resamples=self.resamples, seed=self.seed
        )
        return dict(zip(drawn, found, strict=True)) if found else {}
