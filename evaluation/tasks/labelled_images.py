"""What kNN, linear probe and few-label probe have in common: labelled rows to learn from, labelled rows to judge on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.baselines import RawPixels
from evaluation.class_scores import ClassScores, scores_by_class
from evaluation.embedder import Embedder, Embeddings, Picture, untrained_of
from evaluation.errors import EvaluationError
from evaluation.exhibits import ConfusionMatrix, EmbeddingSample, Exhibits, JudgedPictures
from evaluation.metrics import confusion_matrix
from evaluation.results import TaskResult
from evaluation.statistics import RESAMPLES, Interval
from evaluation.tables import format_value
from evaluation.tasks.task import embed_images, example_ids, identify

RAW_PIXELS, UNTRAINED = "raw_pixels", "untrained"
"""What the names of the baselines' metrics begin with."""
UNTRAINED_SEED = 0

_SETTINGS: dict[str, Mapping[str, Any]] = {RAW_PIXELS: RawPixels().preprocessing, UNTRAINED: {"seed": UNTRAINED_SEED}}
_CALLED = {RAW_PIXELS: "Raw pixels", UNTRAINED: "The untrained encoder"}
_NUM_NAMED = 3
_NUM_MAPPED = 300


@dataclass(frozen=True)
class LabelledEmbeddings:
    """What a classifier on frozen embeddings learns from and answers for.

    Attributes:
        train: ``(N, D)`` float32 of unit norm.
        train_labels: ``(N,)`` int64 indices into the classes.
        test: ``(M, D)`` float32 of unit norm.
        test_labels: ``(M,)`` int64.
        num_classes: of both together.
    """

    train: Embeddings
    train_labels: NDArray[np.int64]
    test: Embeddings
    test_labels: NDArray[np.int64]
    num_classes: int


@dataclass(frozen=True)
class Answers:
    """What a classifier on frozen embeddings reaches.

    Attributes:
        metrics: by name; None where a value does not exist.
        intervals: bootstrap 95% intervals.
        headline: the metrics to show first.
        examples: per-example outcomes by name; ``prediction``, ``(M,)`` int64, where there is one for each picture.
        reasons: why a metric is None.
        protocol: settings that were chosen on the way, plain JSON values.
        notes: plain sentences for the reader of the numbers.
    """

    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval]
    headline: tuple[str, ...]
    examples: Mapping[str, NDArray[np.int64]]
    reasons: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelledImagesTask(ABC):
    """A classifier that learns from the embeddings of labelled training pictures and is judged on others.

    Classes are the labels that occur, sorted. A test label that no training row has is always missed, and said.
    Intervals resample test pictures, or groups of them; the training rows stay as they are.

    Attributes:
        train_images: N pictures to learn from, decoded when asked for.
        train_labels: ``(N,)`` the class of each.
        images: M pictures to judge on, decoded when asked for.
        labels: ``(M,)`` the class of each.
        dataset: name in results.
        split: name in results, of the rows judged on.
        groups: ``(M,)`` ids of pictures that are not independent (drawings of one character), or None.
        ids: ``(M,)`` ids of the test pictures, by which results of several models are paired; by default their places.
        baselines: also judge raw pixels (see `evaluation.baselines.RawPixels`) and, of an embedder that can be rebuilt,
            the same architecture untrained, by the same protocol and once per task, as metrics whose names begin with
            ``raw_pixels/`` and ``untrained/``.
        resamples: of the bootstrap.
        seed: of the bootstrap and of whatever the protocol draws, unless it says otherwise.

    Raises:
        EvaluationError: no pictures, no or missing labels, lengths that differ, fewer than two training classes, test
            labels of which no training row has any, or one sequence as both.
    """

    task: ClassVar[str]

    train_images: Sequence[Picture]
    train_labels: Sequence[str | None]
    images: Sequence[Picture]
    labels: Sequence[str | None]
    dataset: str
    split: str = "test"
    groups: Sequence[int] | NDArray[np.int64] | None = None
    ids: Sequence[str] | None = None
    baselines: bool = False
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        sides = (("training", self.train_images, self.train_labels), ("test", self.images, self.labels))
        for what, images, labels in sides:
            self._check_side(what, images, labels)
        if self.groups is not None and len(self.groups) != len(self.images):
            raise EvaluationError(
                f"{self.dataset}: {len(self.images)} test pictures must have as many groups, got {len(self.groups)}"
            )
        example_ids(self.ids, len(self.images), self.dataset)
        if self.train_images is self.images:
            raise EvaluationError(f"{self.dataset}: the pictures learnt from are those judged on; hold some out")
        known = {str(label) for label in self.train_labels}
        if len(known) < 2:
            raise EvaluationError(f"{self.dataset}: training pictures of at least two classes needed, got {len(known)}")
        if not known & {str(label) for label in self.labels}:
            raise EvaluationError(
                f"{self.dataset}: no class of the test pictures occurs among the training pictures; "
                f"those have {_named(known)}, the test pictures {_named({str(label) for label in self.labels})}"
            )

    def _check_side(self, what: str, images: Sequence[Picture], labels: Sequence[str | None]) -> None:
        if len(images) == 0:
            raise EvaluationError(f"{self.dataset}: {self.task} needs {what} pictures, got none")
        if len(images) != len(labels):
            raise EvaluationError(
                f"{self.dataset}: {len(images)} {what} pictures must have as many labels, got {len(labels)}"
            )
        bare = [index for index, label in enumerate(labels) if label is None]
        if bare:
            raise EvaluationError(
                f"{self.dataset}: every {what} picture must have a label, {len(bare)} of {len(labels)} have none, "
                f"first: {what} picture {bare[0]}"
            )

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the metrics with intervals and chance, per-example outcomes, and a confusion matrix.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        data, groups = self._embedded(embedder), self.group_ids()
        answers = self._answer(data)
        baselines = self._baselines_of(embedder) if self.baselines else {}
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            task=self.task,
            metrics={**answers.metrics, **_prefixed({name: one.metrics for name, one in baselines.items()})},
            reasons={**answers.reasons, **_prefixed({name: one.reasons for name, one in baselines.items()})},
            num_examples=len(self.images),
            intervals={**answers.intervals, **_prefixed({name: one.intervals for name, one in baselines.items()})},
            per_class=self._per_class(data, answers),
            chance=dict.fromkeys(answers.headline, 1 / data.num_classes),
            headline=answers.headline,
            protocol={"num_train_examples": len(self.train_images), **self._settings(), **answers.protocol}
            | {name: {**_SETTINGS[name], **one.protocol} for name, one in baselines.items()},
            notes=(*self._missing_classes(), *answers.notes, *(_beside(*each) for each in baselines.items())),
            examples={
                "id": example_ids(self.ids, len(self.images), self.dataset),
                "label": data.test_labels,
                **answers.examples,
            }
            | ({} if groups is None else {"group": groups}),
            class_names=self._classes(),
            exhibits=self._exhibits(data, answers),
        )

    def group_ids(self) -> NDArray[np.int64] | None:
        """Return the ``(M,)`` groups to resample, None for single pictures."""
        return None if self.groups is None else np.asarray(self.groups)

    @abstractmethod
    def _answer(self, data: LabelledEmbeddings) -> Answers:
        """Learn from the training rows and answer for the test rows."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The protocol as far as it is fixed beforehand, plain JSON values."""

    def _baselines_of(self, embedder: Embedder) -> dict[str, Answers]:
        untrained = untrained_of(embedder, UNTRAINED_SEED)
        return {RAW_PIXELS: self._baseline(RawPixels())} | (
            {} if untrained is None else {UNTRAINED: self._baseline(untrained)}
        )

    def _baseline(self, embedder: Embedder) -> Answers:
        # It is the same for every model, or for every step of a run.
        if embedder.fingerprint not in self._known_baselines:
            self._known_baselines[embedder.fingerprint] = self._answer(self._embedded(embedder))
        return self._known_baselines[embedder.fingerprint]

    @cached_property
    def _known_baselines(self) -> dict[str, Answers]:
        return {}

    def _embedded(self, embedder: Embedder) -> LabelledEmbeddings:
        index_of = {label: index for index, label in enumerate(self._classes())}
        return LabelledEmbeddings(
            train=embed_images(embedder, self.train_images),
            train_labels=np.array([index_of[str(label)] for label in self.train_labels], dtype=np.int64),
            test=embed_images(embedder, self.images),
            test_labels=np.array([index_of[str(label)] for label in self.labels], dtype=np.int64),
            num_classes=len(index_of),
        )

    def _classes(self) -> tuple[str, ...]:
        return tuple(sorted({str(label) for label in (*self.train_labels, *self.labels)}))

    def _missing_classes(self) -> list[str]:
        missing = {str(label) for label in self.labels} - {str(label) for label in self.train_labels}
        if not missing:
            return []
        num_rows = sum(str(label) in missing for label in self.labels)
        return [
            f"{num_rows:,} of {len(self.labels):,} pictures are of classes without a training row ({_named(missing)}) "
            "and count as missed."
        ]

    def _per_class(self, data: LabelledEmbeddings, answers: Answers) -> dict[str, ClassScores]:
        predictions = answers.examples.get("prediction")
        if predictions is None:
            return {}
        return scores_by_class(data.test_labels, predictions, self._classes(), self.group_ids())

    def _exhibits(self, data: LabelledEmbeddings, answers: Answers) -> Exhibits:
        if "prediction" not in answers.examples:
            return Exhibits()
        counts = confusion_matrix(data.test_labels, answers.examples["prediction"], data.num_classes)
        labels = [str(label) for label in self.labels]
        mapped = np.random.default_rng(self.seed).permutation(len(labels))[:_NUM_MAPPED]
        return Exhibits(
            confusion=ConfusionMatrix(counts, self._classes()),
            embeddings=EmbeddingSample(
                images=data.test[mapped],
                texts=data.test[:0],
                partners=np.arange(0),
                text_labels=(),
                image_kinds=tuple(labels[row] for row in mapped.tolist()),
            ),
            judged=JudgedPictures(self.images, labels),
        )


def _prefixed(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{baseline}/{name}": value for baseline, each in values.items() for name, value in each.items()}


def _beside(name: str, baseline: Answers) -> str:
    found = {metric: baseline.metrics[metric] for metric in baseline.headline}
    shown = (f"{metric} {format_value(value, 'fraction')}" for metric, value in found.items() if value is not None)
    return f"{_CALLED[name]} by the same protocol: {', '.join(shown)}."


def _named(labels: set[str]) -> str:
    shown = sorted(labels)[:_NUM_NAMED]
    more = len(labels) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
