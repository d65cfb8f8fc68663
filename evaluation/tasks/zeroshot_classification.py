"""Classification of pictures by the names of their classes, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluation.class_scores import scores_by_class
from evaluation.embedder import Embedder, Embeddings, Picture
from evaluation.errors import EvaluationError
from evaluation.exhibits import (
    ConfusionMatrix,
    EmbeddingSample,
    Exhibits,
    Item,
    JudgedPictures,
    SimilarityMatrix,
)
from evaluation.metrics import (
    ClassRanks,
    class_weights,
    confusion_matrix,
    fill_templates,
    macro_scores,
    mean_per_class_recall,
    rank_labels,
    similarity,
    top_k_accuracy,
)
from evaluation.results import TaskResult
from evaluation.statistics import RESAMPLES, Interval, Statistic, bootstrap_intervals
from evaluation.tasks.accuracy import resampled_accuracies
from evaluation.tasks.class_prompts import check_classes, named_templates, prompts_hash, shown_names, templates_of
from evaluation.tasks.ranked_examples import Side, ranked_examples
from evaluation.tasks.task import embed_images, embed_texts, example_ids, identify

METRICS = ("acc1", "acc5", "mean_per_class_recall", "macro_precision", "macro_recall", "macro_f1")

_NUM_SIMILARITIES = 10
_NUM_MAPPED = 300


@dataclass(frozen=True, kw_only=True)
class ZeroShotClassificationTask:
    """Name the class of each picture: the class whose prompts' mean embedding is nearest.

    Metrics: ``acc1``, ``acc5`` (null under five classes), ``mean_per_class_recall`` (balanced accuracy) and macro
    precision, recall and F1, as CLIP_benchmark and scikit-learn compute them, and the scores of each class. Intervals
    resample pictures, or groups.

    Attributes:
        images: N pictures, decoded when asked for.
        labels: ``(N,)`` the class of each; None, or a None among them, is refused.
        dataset: name in results.
        class_names: how to call each label in a prompt, in the order of the classes; by default every label that
            occurs, by its own name, sorted. Classes of one name, as ImageNet's published names have them, score the
            same.
        templates: prompts with ``{}`` (or ``{c}``) for the class name, or the name of a published set, see
            `evaluation.template_set`.
        groups: ``(N,)`` ids of pictures that are not independent (drawings of one character), or None.
        ids: ``(N,)`` ids of the pictures, by which results of several models are paired; by default their places.
        split: name in results.
        language: of class names and templates, ISO 639-1.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the examples shown.

    Raises:
        EvaluationError: no pictures, no or missing labels, a label without a class name, lengths that differ, under two
            classes or names of classes, an unknown set of templates, or a template without a place for the name.
    """

    images: Sequence[Picture]
    labels: Sequence[str | None] | None
    dataset: str
    class_names: Mapping[str, str] | None = None
    templates: Sequence[str] | str = ("a photo of a {}.",)
    groups: Sequence[int] | NDArray[np.int64] | None = None
    ids: Sequence[str] | None = None
    split: str = "test"
    language: str = "en"
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise EvaluationError(f"{self.dataset}: classification needs pictures, got none")
        if self.labels is None:
            raise EvaluationError(f"{self.dataset}: zero-shot classification needs a label for every picture, got none")
        for what, values in (("labels", self.labels), ("groups", self.groups)):
            if values is not None and len(values) != len(self.images):
                raise EvaluationError(
                    f"{self.dataset}: {len(self.images)} pictures must have as many {what}, got {len(values)}"
                )
        bare = [index for index, label in enumerate(self.labels) if label is None]
        if bare:
            raise EvaluationError(
                f"{self.dataset}: every picture must have a label, {len(bare)} of {len(self.labels)} have none, "
                f"first: picture {bare[0]}"
            )
        example_ids(self.ids, len(self.images), self.dataset)
        check_classes(self.classes, map(str, self.labels), self.templates, self.language, self.dataset)

    @property
    def classes(self) -> dict[str, str]:
        """The name of each label, in the order of the classes."""
        if self.class_names is not None:
            return {str(label): name for label, name in self.class_names.items()}
        return {label: label for label in sorted(set(map(str, self.labels or ())))}

    @cached_property
    def prompts(self) -> list[str]:
        """The filled templates, class by class; the same list each time, so that an embedder may remember them."""
        return fill_templates(list(self.classes.values()), templates_of(self.templates, self.language))

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the metrics with intervals and chance, per-example outcomes, and what a report shows.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        classes = self.classes
        prompts = self.prompts
        images = embed_images(embedder, self.images)
        weights = class_weights(embed_texts(embedder, prompts), len(classes))
        index_of = {label: index for index, label in enumerate(classes)}
        labels = np.array([index_of[str(label)] for label in self.labels or ()], dtype=np.int64)
        ranked = rank_labels(images, weights, labels)
        metrics, reasons = _metrics(ranked, labels, len(classes))
        num_classes, existing = len(classes), [name for name in METRICS if metrics[name] is not None]
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            language=self.language,
            task="zeroshot_classification",
            metrics=metrics,
            reasons=reasons,
            num_examples=len(images),
            intervals=self._intervals(ranked, labels, existing),
            per_class=scores_by_class(labels, ranked.predictions, shown_names(classes.values()), self.groups),
            chance={"acc1": 1 / num_classes, "mean_per_class_recall": 1 / num_classes}
            | ({"acc5": 5 / num_classes} if "acc5" in existing else {}),
            units={"ties": "count"},
            headline=tuple(existing[: existing.index("macro_precision")]),
            notes=_notes(ranked),
            template_hash=prompts_hash(prompts),
            protocol=named_templates(self.templates),
            examples={
                "id": example_ids(self.ids, len(self.images), self.dataset),
                "label": labels,
                "prediction": ranked.predictions,
                "rank": ranked.ranks,
            }
            | ({} if self.groups is None else {"group": np.asarray(self.groups)}),
            class_names=shown_names(classes.values()),
            exhibits=self._exhibits(images, weights, labels, ranked),
        )

    def _intervals(self, ranked: ClassRanks, labels: NDArray[np.int64], names: list[str]) -> dict[str, Interval]:
        statistic = _resampled_metrics(ranked, labels, num_classes=len(self.classes))
        found = bootstrap_intervals(statistic, len(labels), self.groups, resamples=self.resamples, seed=self.seed)
        every = dict(zip(METRICS, found, strict=True)) if found else {}
        return {name: every[name] for name in names if name in every}

    def _exhibits(
        self, images: Embeddings, weights: Embeddings, labels: NDArray[np.int64], ranked: ClassRanks
    ) -> Exhibits:
        names = shown_names(self.classes.values())
        judged = JudgedPictures(self.images, [names[label] for label in labels])
        pictures = Side(images, labels, judged.item)
        classes = Side(weights, np.arange(len(names)), lambda index: Item(text=names[index]))
        order = np.random.default_rng(self.seed).permutation(len(labels))
        mapped = order[:_NUM_MAPPED]
        first_of = dict(zip(*np.unique(labels[order], return_index=True), strict=True))
        shown = [(int(order[first_of[index]]), index) for index in sorted(first_of)][:_NUM_SIMILARITIES]
        rows, columns = [row for row, _ in shown], [int(index) for _, index in shown]
        return Exhibits(
            image_queries=ranked_examples(pictures, classes, ranked.ranks, self.seed),
            confusion=ConfusionMatrix(confusion_matrix(labels, ranked.predictions, len(names)), names),
            similarity=SimilarityMatrix(
                scores=similarity(images[rows], weights[columns]),
                pictures=tuple(pictures.item(row) for row in rows),
                texts=tuple(classes.item(column) for column in columns),
            ),
            embeddings=EmbeddingSample(
                images=images[mapped],
                texts=weights,
                partners=labels[mapped],
                text_labels=names,
                image_kinds=tuple(names[label] for label in labels[mapped]),
                text_kinds=names,
            ),
            judged=judged,
        )


def _metrics(
    ranked: ClassRanks, labels: NDArray[np.int64], num_classes: int
) -> tuple[dict[str, float | None], dict[str, str]]:
    confusion = confusion_matrix(labels, ranked.predictions, num_classes).astype(np.float64)
    correct, support = np.diagonal(confusion), confusion.sum(axis=1)
    macro = macro_scores(correct, support, predicted=confusion.sum(axis=0))
    metrics = {
        "acc1": top_k_accuracy(ranked.ranks, 1, num_classes),
        "acc5": top_k_accuracy(ranked.ranks, 5, num_classes),
        "mean_per_class_recall": float(mean_per_class_recall(correct, support)),
        "macro_precision": float(macro.precision),
        "macro_recall": float(macro.recall),
        "macro_f1": float(macro.f1),
        "ties": float(ranked.tied.sum()),
    }
    few = f"only {num_classes} classes, acc5 needs five"
    return metrics, {"acc5": few} if metrics["acc5"] is None else {}


def _resampled_metrics(ranked: ClassRanks, labels: NDArray[np.int64], num_classes: int) -> Statistic:
    """The metrics, in the order of `METRICS`, of examples with given multiplicities."""
    of_predictions = resampled_accuracies(labels, ranked.predictions, num_classes)
    is_among_five = (ranked.ranks <= 5).astype(np.float64)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        acc5 = (weights @ is_among_five) / weights.sum(axis=1)
        return np.insert(of_predictions(weights), METRICS.index("acc5"), acc5, axis=1)

    return statistic


def _notes(ranked: ClassRanks) -> tuple[str, ...]:
    num_tied = int(ranked.tied.sum())
    if not num_tied:
        return ()
    return (
        f"{num_tied:,} of {len(ranked.tied):,} pictures: another class scored exactly as high as the right one; "
        "the class that comes first in the list is taken.",
    )
