"""Weighted k-nearest-neighbour classification of pictures (arXiv:1805.01978, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from evaluation.errors import EvaluationError
from evaluation.metrics import knn_predictions
from evaluation.metrics.knn import NUM_NEIGHBOURS, TEMPERATURE
from evaluation.tasks.accuracy import HEADLINE, accuracies, accuracy_intervals
from evaluation.tasks.labelled_images import Answers, LabelledEmbeddings, LabelledImagesTask


@dataclass(frozen=True, kw_only=True)
class KNNTask(LabelledImagesTask):
    """Name each picture's class by the votes of its nearest training pictures.

    Metrics: ``acc1``, ``mean_per_class_recall`` (balanced accuracy), macro precision, recall and F1, and the scores of
    each class. The protocol is kept with the result. See
    `LabelledImagesTask` for rows, labels and errors, `evaluation.metrics.knn_predictions` for the votes.

    Attributes:
        k: neighbours that vote, by cosine; clamped to the training pictures.
        temperature: a vote weighs ``exp(cos / temperature)``.
    """

    task: ClassVar[str] = "knn"

    k: int = NUM_NEIGHBOURS
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1 or not self.temperature > 0:
            raise EvaluationError(
                f"{self.dataset}: k must be >= 1 and temperature > 0, got {self.k}, {self.temperature}"
            )

    def _settings(self) -> dict[str, Any]:
        k = min(self.k, len(self.train_images))
        return {"k": k, "similarity": "cosine", "weights": "exp(cos / temperature)", "temperature": self.temperature}

    def _answer(self, data: LabelledEmbeddings) -> Answers:
        predictions = knn_predictions(
            data.train, data.train_labels, data.test, data.num_classes, k=self.k, temperature=self.temperature
        )
        return Answers(
            metrics=accuracies(data.test_labels, predictions, data.num_classes),
            intervals=accuracy_intervals(
                data.test_labels,
                predictions,
                data.num_classes,
                self.group_ids(),
                resamples=self.resamples,
                seed=self.seed,
            ),
            headline=HEADLINE,
            examples={"prediction": predictions},
        )
