"""Labelling of pictures that have several labels each, by the names of the classes, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.class_scores import ClassScores, scores_by_label
from evaluation.embedder import Embedder, Picture
from evaluation.errors import EvaluationError
from evaluation.metrics import (
    average_precisions,
    class_weights,
    expected_average_precision,
    fill_templates,
    macro_scores,
    mean_average_precision,
    similarity,
    top_k_labels,
)
from evaluation.results import TaskResult
from evaluation.statistics import RESAMPLES, Interval, Statistic, bootstrap_intervals
from evaluation.tasks.class_prompts import check_classes, named_templates, prompts_hash, shown_names, templates_of
from evaluation.tasks.task import embed_images, embed_texts, example_ids, identify

HEADLINE = "mean_average_precision"
NUM_GIVEN = 3
"""Labels that each picture is given where labels are counted, as the field does it for want of a threshold."""

AT_K = tuple(f"{mean}_{name}@{NUM_GIVEN}" for mean in ("micro", "macro") for name in ("precision", "recall", "f1"))


@dataclass(frozen=True, kw_only=True)
class MultiLabelZeroShotTask:
    """Find the labels of each picture, of which it may have several or none.

    The classifier is that of `ZeroShotClassificationTask`. Metrics: ``mean_average_precision`` over the classes that
    some picture has, as CLIP_benchmark has it; and precision, recall and F1 where each picture is given the three
    labels of highest score, however many it has: ``micro_...@3`` over all labels together, ``macro_...@3`` the mean
    over classes (null under four classes). No threshold is chosen. Each class has its own scores by the same three
    labels, and its average precision. Intervals resample pictures, or groups; one that leaves out its own number, as
    that of average precision does where classes have few pictures, is not given.

    Attributes:
        images: N pictures, decoded when asked for.
        labels: the labels of each, without order; an empty one for a picture of none of the classes.
        dataset: name in results.
        class_names: how to call each label in a prompt, in the order of the classes; by default every label that
            occurs, by its own name, sorted.
        templates: prompts with ``{}`` (or ``{c}``) for the class name, or the name of a published set, see
            `evaluation.template_set`.
        groups: ``(N,)`` ids of pictures that are not independent, or None.
        ids: ``(N,)`` ids of the pictures, by which results of several models are paired; by default their places.
        split: name in results.
        language: of class names and templates, ISO 639-1.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        EvaluationError: no pictures, no label at all, a label without a class name, lengths that differ, under two
            classes or names of classes, an unknown set of templates, or a template without a place for the name.
    """

    images: Sequence[Picture]
    labels: Sequence[Sequence[str]]
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
        for what, values in (("lists of labels", self.labels), ("groups", self.groups)):
            if values is not None and len(values) != len(self.images):
                raise EvaluationError(
                    f"{self.dataset}: {len(self.images)} pictures must have as many {what}, got {len(values)}"
                )
        wrong = next((row for row, labels in enumerate(self.labels) if labels is None or isinstance(labels, str)), None)
        if wrong is not None:
            raise EvaluationError(
                f"{self.dataset}: every picture must have a list of labels, got {self.labels[wrong]!r} for {wrong}"
            )
        if not any(map(len, self.labels)):
            raise EvaluationError(f"{self.dataset}: none of {len(self.images)} pictures has a label")
        example_ids(self.ids, len(self.images), self.dataset)
        check_classes(self._classes(), self._all_labels(), self.templates, self.language, self.dataset)

    def _all_labels(self) -> set[str]:
        return {str(label) for labels in self.labels for label in labels}

    def _classes(self) -> dict[str, str]:
        if self.class_names is not None:
            return {str(label): name for label, name in self.class_names.items()}
        return {label: label for label in sorted(self._all_labels())}

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the metrics with intervals and chance, the scores of each class, and per-example scores.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        classes, targets = self._classes(), self._targets()
        prompts = fill_templates(list(classes.values()), templates_of(self.templates, self.language))
        images = embed_images(embedder, self.images)
        scores = similarity(images, class_weights(embed_texts(embedder, prompts), len(classes)))
        values = resampled_label_scores(scores, targets)(np.ones((1, len(targets))))[0].tolist()
        metrics: dict[str, float | None] = {HEADLINE: mean_average_precision(scores, targets)}
        metrics |= dict(zip(AT_K, values[1:] or [None] * len(AT_K), strict=True))
        found, support = self._intervals(scores, targets), targets.sum(axis=0)
        intervals = {
            name: each for (name, each), value in zip(found.items(), values, strict=False) if each.holds(value)
        }
        expected = expected_average_precision(support[support > 0], len(targets))
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            language=self.language,
            task="multilabel_zeroshot_classification",
            metrics=metrics,
            reasons={
                name: f"only {len(classes)} classes, {NUM_GIVEN} labels each would say little"
                for name, value in metrics.items()
                if value is None
            },
            num_examples=len(images),
            intervals=intervals,
            per_class=self._per_class(scores, targets),
            chance={HEADLINE: float(expected.mean())},
            headline=(HEADLINE,),
            notes=_notes(support, is_exceeded=HEADLINE in found and HEADLINE not in intervals),
            template_hash=prompts_hash(prompts),
            protocol={"num_labels_given": NUM_GIVEN} | named_templates(self.templates),
            examples={"id": example_ids(self.ids, len(images), self.dataset), "target": targets, "score": scores}
            | ({} if self.groups is None else {"group": np.asarray(self.groups)}),
        )

    def _targets(self) -> NDArray[np.bool_]:
        index_of = {label: index for index, label in enumerate(self._classes())}
        targets = np.zeros((len(self.labels), len(index_of)), dtype=bool)
        for row, labels in enumerate(self.labels):
            targets[row, [index_of[str(label)] for label in labels]] = True
        return targets

    def _intervals(self, scores: NDArray[np.float32], targets: NDArray[np.bool_]) -> dict[str, Interval]:
        found = bootstrap_intervals(
            resampled_label_scores(scores, targets), len(targets), self.groups, resamples=self.resamples, seed=self.seed
        )
        return dict(zip((HEADLINE, *AT_K), found, strict=False)) if found else {}

    def _per_class(self, scores: NDArray[np.float32], targets: NDArray[np.bool_]) -> dict[str, ClassScores]:
        names, precisions = shown_names(self._classes().values()), average_precisions(scores, targets)[0]
        given = top_k_labels(scores, NUM_GIVEN) if len(names) > NUM_GIVEN else None
        return scores_by_label(targets, given, precisions, names, self.groups)


def resampled_label_scores(scores: NDArray[np.float32], targets: NDArray[np.bool_]) -> Statistic:
    """The headline metric, and those of `AT_K` where there are classes enough, of examples as often as drawn."""
    has_few_classes = targets.shape[1] <= NUM_GIVEN
    given, own = top_k_labels(scores, NUM_GIVEN).astype(np.float64), targets.astype(np.float64)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        precisions = average_precisions(scores, targets, weights)
        num_drawn = (~np.isnan(precisions)).sum(axis=1, keepdims=True)  # a resample may lack a class, or all of them
        mean = np.asarray(np.nansum(precisions, axis=1, keepdims=True) / np.maximum(num_drawn, 1))
        if has_few_classes:
            return mean
        correct, support, predicted = weights @ (given * own), weights @ own, weights @ given
        totals = (part.sum(axis=1, keepdims=True) for part in (correct, support, predicted))
        columns = [mean]  # micro scores are those of one class that holds all labels
        for scores_of in (macro_scores(*totals), macro_scores(correct, support, predicted)):
            columns += [scores_of.precision, scores_of.recall, scores_of.f1]
        return np.column_stack(columns)

    return statistic


def _notes(support: NDArray[np.int64], is_exceeded: bool) -> tuple[str, ...]:
    notes, num_empty = [], int((support == 0).sum())
    if num_empty:
        classes = f"{num_empty:,} of {len(support):,} classes"
        notes.append(f"{classes} are those of no picture; no mean counts their precision.")
    if is_exceeded:
        notes.append(
            f"{HEADLINE} has no interval: classes have so few pictures ({np.median(support[support > 0]):.0f} in the"
            " median) that resamples, which repeat some and lack others, score higher than the pictures themselves."
        )
    return tuple(notes)
