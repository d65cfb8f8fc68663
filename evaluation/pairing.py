"""Whether two results can be compared example by example, and what a metric is computed from when they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.changes import outcomes, ranked_pairs
from evaluation.results import CHOSEN, TaskResult
from evaluation.statistics import Statistic, mean_of
from evaluation.tasks import accuracy
from evaluation.tasks.multilabel_zeroshot_classification import HEADLINE, resampled_label_scores

_IDS = ("id", "image_id", "text_id")
_GIVEN = {
    "id": ("label", "target", "group"),
    "image_id": ("image_group",),
    "text_id": ("text_group",),
}
"""What the data say of the examples with these ids, and no model."""


@dataclass(frozen=True)
class Resampled:
    """A metric as something that can be computed anew from examples as often as a resample has them.

    Attributes:
        statistic: of ``(R, N)`` multiplicities, ``(R, 1)`` values.
        ids: ``(N,)`` of the examples.
        groups: ``(N,)`` of examples that are drawn together, None for single ones.
    """

    statistic: Statistic
    ids: NDArray[np.str_]
    groups: NDArray[np.int64] | None

    def in_order_of(self, ids: NDArray[np.str_]) -> Resampled:
        """Return the same, of the same examples in another order."""
        if np.array_equal(self.ids, ids):
            return self
        place = _places(self.ids, ids)
        groups = None if self.groups is None else self.groups[np.argsort(place)]
        return Resampled(lambda weights: self.statistic(weights[:, place]), ids, groups)


def resampled(result: TaskResult, metric: str) -> Resampled | None:
    """Return a metric as it can be resampled; None where a result does not keep what that takes."""
    examples = result.examples
    if not any(kind in examples for kind in _IDS):
        return None
    found, pairs = outcomes(result, metric), ranked_pairs(result, metric)
    if found is not None:
        statistic, groups = mean_of(found[0][:, None]), found[1]
    elif pairs is not None:
        statistic, groups = pairs[1], pairs[2]
    elif metric in accuracy.METRICS and {"label", "prediction"} <= examples.keys():
        labels, predictions = examples["label"], examples["prediction"]
        every = accuracy.resampled_accuracies(labels, predictions, 1 + int(max(labels.max(), predictions.max())))
        statistic, groups = _column(every, accuracy.METRICS.index(metric)), examples.get("group")
    elif metric == HEADLINE and {"target", "score"} <= examples.keys():
        statistic = _column(resampled_label_scores(examples["score"], examples["target"]), 0)
        groups = examples.get("group")
    else:
        return None
    return Resampled(statistic, _ids_of(result, metric), groups)


def _column(statistic: Statistic, number: int) -> Statistic:
    return lambda weights: statistic(weights)[:, number : number + 1]


def _ids_of(result: TaskResult, metric: str) -> NDArray[np.str_]:
    # Texts look for pictures in image retrieval, and pictures for texts in text retrieval.
    queries = {"image_retrieval": "text_id", "text_retrieval": "image_id"}
    kind = queries.get(metric.partition("_recall")[0], "id")
    return np.asarray(result.examples[kind if kind in result.examples else "id"])


def mismatches(first: TaskResult, other: TaskResult) -> list[str]:
    """Return why two results of one task are not comparable, each in a few words; empty where they are.

    What one of them does not tell, such as the precision of an embedder that has no such thing, is no mismatch.
    """
    return [*_other_settings(first, other), *_other_examples(first, other)]


def _other_settings(first: TaskResult, other: TaskResult) -> Iterator[str]:
    if other.num_examples != first.num_examples:
        yield f"{other.num_examples:,} {other.example_name}, not {first.num_examples:,}"
    if other.template_hash != first.template_hash:
        yield "other prompts (template_hash)"
    if first.precision and other.precision and other.precision != first.precision:
        yield f"precision {other.precision}, not {first.precision}"
    one, two = _settings(first), _settings(other)
    for name in dict.fromkeys([*one, *two]):
        if one.get(name) != two.get(name):
            yield f"protocol: {name} {two.get(name)}, not {one.get(name)}"


def _settings(result: TaskResult) -> Mapping[str, Any]:
    """The protocol without what was chosen for this model, and without that of baselines beside it."""
    beside = {name.partition("/")[0] for name in result.metrics if "/" in name}
    return {name: value for name, value in result.protocol.items() if name != CHOSEN and name not in beside}


def _other_examples(first: TaskResult, other: TaskResult) -> Iterator[str]:
    for kind in _IDS:
        if not (kind in first.examples and kind in other.examples):
            continue
        ids, others = first.examples[kind], other.examples[kind]
        place = np.arange(len(ids))
        if not np.array_equal(ids, others):
            unknown = np.setdiff1d(others, ids)
            if len(ids) != len(others) or len(unknown):
                which = f', such as "{unknown[0]}"' if len(unknown) else ""
                yield f"other examples: {len(unknown):,} of {len(others):,} ids are not among the {len(ids):,}{which}"
                return
            place = _places(others, ids)
        for name in (*_GIVEN[kind], *(("score",) if "cosine" in first.examples else ())):
            given, own = _given(first, name), _given(other, name)
            if given is None and own is None:
                continue
            if given is None or own is None:
                yield f"{name}s in one of the two alone"
            elif not np.array_equal(given[place], own):
                yield f"other {name}s of the same examples"


def _given(result: TaskResult, name: str) -> NDArray[Any] | None:
    values = result.examples.get(name)
    if values is not None and name == "label" and result.class_names:
        return np.asarray(np.array(result.class_names)[values])
    return values


def _places(ids: NDArray[np.str_], among: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return ``(N,)`` where each id stands among others, which are the same ones."""
    order = np.argsort(among)
    return np.asarray(order[np.searchsorted(among, ids, sorter=order)])
