"""A linear classifier on frozen embeddings of pictures, its weight decay chosen on held-out training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from evaluation.errors import EvaluationError
from evaluation.metrics import linear_probe
from evaluation.metrics.linear_probe import C_GRID, MAX_ITERATIONS, VALIDATION_FRACTION
from evaluation.results import CHOSEN
from evaluation.tasks.accuracy import HEADLINE, accuracies, accuracy_intervals
from evaluation.tasks.labelled_images import Answers, LabelledEmbeddings, LabelledImagesTask


@dataclass(frozen=True, kw_only=True)
class LinearProbeTask(LabelledImagesTask):
    """Name each picture's class by logistic regression on the embeddings of the training pictures.

    Metrics: ``acc1``, ``mean_per_class_recall`` (balanced accuracy), macro precision, recall and F1, and the scores of
    each class. The grid, the accuracies on the validation
    split and the weight decay chosen are kept with the result; the test pictures choose nothing. See
    `LabelledImagesTask` for rows, labels and errors, `evaluation.metrics.linear_probe` for the fit.

    Attributes:
        c_grid: inverse weight decays to choose from.
        validation_fraction: of each class's training pictures, held out to choose it, between 0 and 1.
        max_iterations: of lbfgs, per fit.
    """

    task: ClassVar[str] = "linear_probe"

    c_grid: tuple[float, ...] = C_GRID
    validation_fraction: float = VALIDATION_FRACTION
    max_iterations: int = MAX_ITERATIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.c_grid or min(self.c_grid) <= 0:
            raise EvaluationError(f"{self.dataset}: C must be one or more values > 0, got {list(self.c_grid)}")
        if not 0 < self.validation_fraction < 1:
            raise EvaluationError(
                f"{self.dataset}: validation_fraction must lie between 0 and 1, got {self.validation_fraction}"
            )

    def _settings(self) -> dict[str, Any]:
        return {
            "features": "L2-normalised, not standardised",
            "classifier": "multinomial logistic regression, scikit-learn, lbfgs, L2 penalty",
            "c_grid": list(self.c_grid),
            "validation_fraction": self.validation_fraction,
            "max_iterations": self.max_iterations,
            "seed": self.seed,
        }

    def _answer(self, data: LabelledEmbeddings) -> Answers:
        probe = linear_probe(
            data.train,
            data.train_labels,
            data.test,
            data.num_classes,
            c_grid=self.c_grid,
            validation_fraction=self.validation_fraction,
            max_iterations=self.max_iterations,
            seed=self.seed,
        )
        notes = []
        if len(self.c_grid) > 1 and probe.c == max(self.c_grid):
            notes.append(
                f"The weight decay chosen is the smallest offered (C = {probe.c:g}): a wider grid may do better."
            )
        if not probe.is_converged:
            notes.append(f"The probe had not converged after {self.max_iterations:,} iterations.")
        return Answers(
            metrics=accuracies(data.test_labels, probe.predictions, data.num_classes),
            intervals=accuracy_intervals(
                data.test_labels,
                probe.predictions,
                data.num_classes,
                self.group_ids(),
                resamples=self.resamples,
                seed=self.seed,
            ),
            headline=HEADLINE,
            examples={"prediction": probe.predictions},
            protocol={
                CHOSEN: {
                    "c": probe.c,
                    "validation_accuracy": {f"{c:g}": accuracy for c, accuracy in probe.validation_accuracy.items()},
                }
            },
            notes=tuple(notes),
        )
