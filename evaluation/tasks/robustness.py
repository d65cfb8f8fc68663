"""Robustness: how much of a model's zero-shot accuracy is left when pictures are corrupted?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.corruptions import CORRUPTIONS, SIDE, STRENGTHS, CorruptedPictures
from evaluation.embedder import Embedder
from evaluation.errors import EvaluationError
from evaluation.metrics import class_weights, rank_labels
from evaluation.results import TaskResult
from evaluation.statistics import Statistic, bootstrap_intervals, mean_of
from evaluation.tasks.task import embed_images, embed_texts, identify
from evaluation.tasks.zeroshot_classification import ZeroShotClassificationTask

HEADLINE = ("acc1", "mean_corruption_acc1")
"""Without the drop, which is better the lower it is, and lowest for a model that has nothing to lose."""


@dataclass(frozen=True, kw_only=True)
class RobustnessTask:
    """Judge zero-shot classification on corrupted pictures, at five strengths (arXiv:1903.12261).

    Metrics: ``acc1`` on the pictures as they are; ``<corruption>/acc1@<strength>``; ``<corruption>/acc1``, the mean
    over strengths; ``mean_corruption_acc1``, the mean over all; and ``relative_drop``, 1 less that over ``acc1``. The
    paper divides errors by AlexNet's; they are not divided here. Intervals resample pictures, or groups, and draw a
    picture with all of its corruptions together.

    Every picture is decoded and encoded once for each corruption and strength, 51 times by default.

    Attributes:
        zeroshot: what is judged: pictures, classes, templates.
        corruptions: names of `evaluation.corruptions.CORRUPTIONS`.

    Raises:
        EvaluationError: no corruption, an unknown one, or one twice.
    """

    task: ClassVar[str] = "robustness"

    zeroshot: ZeroShotClassificationTask
    corruptions: Sequence[str] = tuple(CORRUPTIONS)

    def __post_init__(self) -> None:
        unknown = [name for name in self.corruptions if name not in CORRUPTIONS]
        if unknown or not len(self.corruptions) or len(set(self.corruptions)) < len(self.corruptions):
            raise EvaluationError(
                f"{self.dataset}: corruptions must be one or more of {', '.join(CORRUPTIONS)}, each once, "
                f"got {', '.join(self.corruptions) or 'none'}"
            )

    @property
    def dataset(self) -> str:
        """Name in results."""
        return self.zeroshot.dataset

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the accuracies with intervals and chance, and how often each picture was right.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        clean = self.zeroshot.evaluate(embedder)
        labels = clean.examples["label"]
        hits = [clean.examples["rank"] == 1, *self._corrupted_hits(embedder, labels)]
        is_right = np.column_stack(hits).astype(np.float64)
        names, statistic = self._statistic(is_right)
        values = statistic(np.ones((1, len(labels))))[0]
        metrics = {name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}
        intervals = bootstrap_intervals(
            lambda weights: np.nan_to_num(statistic(weights)),
            len(labels),
            self.zeroshot.groups,
            resamples=self.zeroshot.resamples,
            seed=self.zeroshot.seed,
        )
        found = dict(zip(names, intervals, strict=True)) if intervals else {}
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.zeroshot.split,
            language=self.zeroshot.language,
            task=self.task,
            metrics=metrics,
            reasons={name: "no picture is right as it is" for name, value in metrics.items() if value is None},
            num_examples=len(labels),
            intervals={name: interval for name, interval in found.items() if metrics[name] is not None},
            chance={name: clean.chance["acc1"] for name in names if name != "relative_drop"},
            headline=HEADLINE,
            template_hash=clean.template_hash,
            protocol=self._protocol(),
            examples={name: values for name, values in clean.examples.items() if name in ("id", "label", "group")}
            | {"acc1": is_right[:, 0], "mean_corruption_acc1": is_right[:, 1:].mean(axis=1)},
        )

    def _protocol(self) -> dict[str, Any]:
        settings = {"shorter_side": SIDE, "seed": self.zeroshot.seed}
        return {"corruptions": list(self.corruptions), "strengths": list(STRENGTHS), **settings}

    def _corrupted_hits(self, embedder: Embedder, labels: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
        """Return, for each corruption and strength, the ``(N,)`` pictures whose class came first."""
        zeroshot, prompts = self.zeroshot, self.zeroshot.prompts
        weights = class_weights(embed_texts(embedder, prompts), len(zeroshot.classes))
        hits = []
        for corruption, strength in product(self.corruptions, STRENGTHS):
            pictures = CorruptedPictures(zeroshot.images, corruption, strength, zeroshot.seed)
            hits.append(rank_labels(embed_images(embedder, pictures), weights, labels).ranks == 1)
        return hits

    def _statistic(self, is_right: NDArray[np.float64]) -> tuple[list[str], Statistic]:
        """Return the names of the metrics, and how to compute them of pictures with given multiplicities."""
        mean, num_strengths = mean_of(is_right), len(STRENGTHS)
        each = [f"{name}/acc1@{strength}" for name, strength in product(self.corruptions, STRENGTHS)]

        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            accuracies = mean(weights)
            clean, corrupted = accuracies[:, :1], accuracies[:, 1:]
            overall = corrupted.mean(axis=1, keepdims=True)
            left = np.divide(overall, clean, out=np.full_like(clean, np.nan), where=clean > 0)
            by_corruption = corrupted.reshape(len(weights), -1, num_strengths).mean(axis=2)
            return np.hstack([clean, overall, 1 - left, by_corruption, corrupted])

        return [*HEADLINE, "relative_drop", *(f"{name}/acc1" for name in self.corruptions), *each], statistic
