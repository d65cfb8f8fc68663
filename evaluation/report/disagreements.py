"""Where models disagree: pictures that some of them get right and others wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.changes import main_metrics, outcomes
from evaluation.exhibits import Item, JudgedPictures
from evaluation.pairing import mismatches
from evaluation.report.standings import Contest
from evaluation.results import TaskResult

_NUM_PATTERNS = 4
_NUM_PICTURES = 4
_SEED_OF_CASES = 0


@dataclass(frozen=True)
class Answer:
    """What one model made of a picture."""

    model: str
    text: str
    is_right: bool


@dataclass(frozen=True)
class Case:
    """A picture with its class or caption, and what each model made of it."""

    item: Item
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Pattern:
    """Who is right and who is wrong.

    Attributes:
        right: names of models.
        wrong: those of the others.
        count: of how many pictures that is so.
        cases: some of them, drawn by chance, no two of one group.
    """

    right: tuple[str, ...]
    wrong: tuple[str, ...]
    count: int
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Disagreements:
    """The commonest ways in which models differ on the same pictures.

    Attributes:
        metric: whose outcomes are meant.
        num_pictures: judged.
        num_all_right: that every model gets right.
        num_all_wrong: that no model gets right.
        patterns: the commonest first.
    """

    metric: str
    num_pictures: int
    num_all_right: int
    num_all_wrong: int
    patterns: tuple[Pattern, ...]


def disagreements(contest: Contest) -> Disagreements | None:
    """Return where the models of a contest differ; None where no pictures or outcomes of each are at hand."""
    results = contest.results
    judged = next((one.exhibits.judged for one in results if one.exhibits.judged is not None), None)
    if len(results) < 2 or judged is None or not all(_are_aligned(results[0], one) for one in results[1:]):
        return None
    for metric in main_metrics(results[0]):
        rows = _rows(results, metric, len(judged.pictures))
        if rows is not None:
            break
    else:
        return None
    counts = Counter(map(tuple, rows.T.tolist()))
    mixed = [kind for kind, _ in counts.most_common() if any(kind) and not all(kind)][:_NUM_PATTERNS]
    indices_of = {kind: np.flatnonzero((rows == np.array(kind)[:, None]).all(axis=0)) for kind in mixed}
    return Disagreements(
        metric=metric,
        num_pictures=len(judged.pictures),
        num_all_right=counts[(True,) * len(results)],
        num_all_wrong=counts[(False,) * len(results)],
        patterns=tuple(_pattern(contest, judged, kind, indices) for kind, indices in indices_of.items()),
    )


def _are_aligned(first: TaskResult, other: TaskResult) -> bool:
    """Whether two results are of the same examples in the same order; those without examples are not."""
    names = [name for name in ("id", "image_id") if name in first.examples]
    in_order = all(np.array_equal(first.examples[name], other.examples.get(name, ())) for name in names)
    return bool(names) and in_order and not mismatches(first, other)


def _pattern(contest: Contest, judged: JudgedPictures, kind: tuple[bool, ...], indices: NDArray[np.int64]) -> Pattern:
    """The pattern of the pictures ``indices``, on which the models are right as ``kind`` has it."""
    by_model = list(zip(contest.names, contest.results, kind, strict=True))
    return Pattern(
        right=tuple(name for name, _, is_right in by_model if is_right),
        wrong=tuple(name for name, _, is_right in by_model if not is_right),
        count=len(indices),
        cases=tuple(
            Case(
                judged.item(index),
                tuple(Answer(name, _said(result, index), is_right) for name, result, is_right in by_model),
            )
            for index in _drawn(indices, contest.results[0])
        ),
    )


def _drawn(indices: NDArray[np.int64], result: TaskResult) -> list[int]:
    order = np.random.default_rng(_SEED_OF_CASES).permutation(indices)
    for name in ("group", "image_group"):
        if name in result.examples:
            order = order[np.sort(np.unique(result.examples[name][order], return_index=True)[1])]
    return [int(index) for index in order[:_NUM_PICTURES]]


def _rows(results: Sequence[TaskResult], metric: str, num_pictures: int) -> NDArray[np.bool_] | None:
    """``(models, N)`` whether each picture was got right; None where a result has no such outcomes of its pictures."""
    found = [outcomes(result, metric) for result in results]
    if any(one is None or len(one[0]) != num_pictures for one in found):
        return None
    return np.array([one[0] > 0 for one in found if one is not None])


def _said(result: TaskResult, index: int) -> str:
    """What a model answered: the name of a class, or where the right answer came."""
    examples = result.examples
    if result.class_names and "prediction" in examples:
        return result.class_names[int(examples["prediction"][index])]
    rank = examples.get("text_retrieval_rank")
    return "" if rank is None else f"rank {rank[index]:,}"
