"""Image-caption selection: is a picture nearer to its own caption than to captions that are only almost right?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedder, Picture
from evaluation.errors import EvaluationError
from evaluation.exhibits import Candidate, Exhibits, Item, RankedExample, choose_examples, picture_item
from evaluation.metrics import paired_cosines
from evaluation.results import TaskResult
from evaluation.statistics import RESAMPLES, Statistic, bootstrap_intervals
from evaluation.tasks.ranked_examples import NUM_EXAMPLES_EACH
from evaluation.tasks.task import embed_images, embed_texts, example_ids, identify

WINOGROUND_CHANCE = {"text_acc": 1 / 4, "image_acc": 1 / 4, "acc": 1 / 6}
"""Of random scores (arXiv:2204.03162, section 4)."""


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
        outcomes: by metric ``(N,)`` float64, 1 for an example that is right.
        is_tied: ``(N,)`` bool; a wrong answer scored exactly as high as the right one, and none higher.
        chance: by metric ``(N,)`` float64, how often random scores are right.
        scores: ``(T,)`` float32, the cosine of each caption and the picture it is offered for.
    """

    outcomes: dict[str, NDArray[np.float64]]
    is_tied: NDArray[np.bool_]
    chance: dict[str, NDArray[np.float64]]
    scores: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _SelectionTask(ABC):
    """What the forms of the task have in common.

    Attributes:
        images: pictures, decoded when asked for.
        dataset: name in results.
        subsets: the part of the data that each example is of (SugarCrepe's ``add_att``, ``swap_obj`` ...), or empty.
        groups: ids of examples that are not independent, one each, which intervals resample together, or None.
        ids: of the examples, one each, by which results of several models are paired; by default their places.
        split: name in results.
        language: of the captions, ISO 639-1.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the examples shown.
    """

    task: ClassVar[str] = "image_caption_selection"

    images: Sequence[Picture]
    dataset: str
    subsets: Sequence[str] = ()
    groups: Sequence[int] | NDArray[np.int64] | None = None
    ids: Sequence[str] | None = None
    split: str = "test"
    language: str = "en"
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    @abstractmethod
    def _offered(self) -> list[Sequence[str]]:
        """The captions that are offered for each picture."""

    @property
    @abstractmethod
    def _num_examples(self) -> int: ...

    @abstractmethod
    def _select(self, scores: NDArray[np.float32]) -> Selection: ...

    @abstractmethod
    def _right(self, picture: int) -> int:
        """Which of the captions offered for a picture is its own."""

    @cached_property
    def _texts(self) -> list[str]:
        """All captions; the same list each time, so that an embedder may remember them."""
        return list(dict.fromkeys(text for texts in self._offered for text in texts))

    def _check(self) -> None:
        if len(self.images) == 0:
            raise EvaluationError(f"{self.dataset}: {self.task} needs pictures, got none")
        for picture, texts in enumerate(self._offered):
            wrong = next((text for text in texts if not isinstance(text, str) or not text.strip()), None)
            if wrong is not None:
                raise EvaluationError(
                    f"{self.dataset}: every caption must be a text, got {wrong!r} for picture {picture}"
                )
            right = texts[self._right(picture)]
            if list(texts).count(right) > 1:
                raise EvaluationError(
                    f'{self.dataset}: a wrong caption must differ from the right one, got "{right}" as both for '
                    f"picture {picture}"
                )
        for name, values in (("subsets", self.subsets or None), ("groups", self.groups)):
            if values is not None and len(values) != self._num_examples:
                raise EvaluationError(
                    f"{self.dataset}: {name} must be as many as examples, {self._num_examples}, got {len(values)}"
                )
        example_ids(self.ids, self._num_examples, self.dataset)

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the accuracies with intervals and chance, each example's own, ties, and some examples.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        images, texts = embed_images(embedder, self.images), embed_texts(embedder, self._texts)
        row_of = {text: row for row, text in enumerate(self._texts)}
        rows = [row_of[text] for offered in self._offered for text in offered]
        picture_of = np.repeat(np.arange(len(self.images)), [len(offered) for offered in self._offered])
        chosen = self._select(paired_cosines(images[picture_of], texts[rows]))
        names, statistic = self._statistic(chosen.outcomes)
        each_once = np.ones((1, self._num_examples))
        found = bootstrap_intervals(
            statistic, self._num_examples, self.groups, resamples=self.resamples, seed=self.seed
        )
        num_tied = int(chosen.is_tied.sum())
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            language=self.language,
            task=self.task,
            metrics={**dict(zip(names, statistic(each_once)[0].tolist(), strict=True)), "ties": float(num_tied)},
            num_examples=self._num_examples,
            example_name="examples",
            intervals=dict(zip(names, found, strict=True)) if found else {},
            chance=dict(zip(names, self._statistic(chosen.chance)[1](each_once)[0].tolist(), strict=True)),
            units={"ties": "count"},
            headline=tuple(name for name in names if "/" not in name),
            notes=self._notes(num_tied),
            examples={"id": example_ids(self.ids, self._num_examples, self.dataset), **chosen.outcomes}
            | ({"subset": np.array(list(map(str, self.subsets)))} if len(self.subsets) else {})
            | ({} if self.groups is None else {"group": np.asarray(self.groups)}),
            exhibits=Exhibits(image_queries=self._examples(chosen.scores)),
        )

    def _notes(self, num_tied: int) -> tuple[str, ...]:
        if not num_tied:
            return ()
        return (
            f"In {num_tied:,} of {self._num_examples:,} examples a wrong answer scored exactly as high as the right "
            "one; those count as missed.",
        )

    def _statistic(self, by_metric: Mapping[str, NDArray[np.float64]]) -> tuple[list[str], Statistic]:
        """Return the names of the accuracies, those of subsets and their mean with them, and how to compute them."""
        outcomes = np.stack(list(by_metric.values()), axis=1)
        subsets = np.array([str(subset) for subset in self.subsets])
        parts = list(dict.fromkeys(subsets.tolist()))
        names = list(by_metric)
        if parts:
            names += [f"mean_per_subset_{name}" for name in by_metric]
            names += [f"{part}/{name}" for part in parts for name in by_metric]

        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            whole = _mean(weights, outcomes)
            if not parts:
                return whole
            each = [_mean(weights[:, subsets == part], outcomes[subsets == part]) for part in parts]
            return np.hstack([whole, np.mean(each, axis=0), *each])

        return names, statistic

    def _examples(self, scores: NDArray[np.float32]) -> tuple[RankedExample, ...]:
        per_picture = np.split(scores, np.cumsum([len(offered) for offered in self._offered])[:-1])
        ranks = np.array(
            [(each >= each[self._right(picture)]).sum() for picture, each in enumerate(per_picture)], dtype=np.int64
        )
        chosen = choose_examples(ranks, np.arange(len(ranks)), NUM_EXAMPLES_EACH, self.seed)
        return tuple(self._example(row, per_picture[row], int(ranks[row])) for rows in chosen for row in rows)

    def _example(self, picture: int, scores: NDArray[np.float32], rank: int) -> RankedExample:
        texts, right = self._offered[picture], self._right(picture)
        is_right = np.arange(len(texts)) == right
        candidates = [Candidate(Item(texts[row]), float(scores[row]), row == right) for row in range(len(texts))]
        return RankedExample(
            query=picture_item(self.images, picture),
            candidates=tuple(candidates[row] for row in np.lexsort((is_right, -scores)).tolist()),
            wanted=candidates[right],
            rank=rank,
            num_candidates=len(texts),
        )


@dataclass(frozen=True, kw_only=True)
class ImageCaptionSelectionTask(_SelectionTask):
    """Choose among several captions the one that is a picture's own.

    SugarCrepe's form (arXiv:2306.14610), with one wrong caption or more, and ARO's (arXiv:2210.01936). Metric: ``acc``,
    the share of pictures whose own caption is strictly nearer than each of the others; with ``subsets`` also
    ``<subset>/acc`` and ``mean_per_subset_acc``. ``ties`` counts the pictures for which a wrong caption was exactly as
    near and none nearer: misses, because a collapsed model would have all of them right otherwise.

    Attributes:
        captions: for each of the N pictures two or more texts.
        answers: ``(N,)`` which of them is right, from 0; empty where it is always the first.

    Raises:
        EvaluationError: no pictures, fewer than two captions, captions that are none or twice the same, an answer that
            is not there, lengths that differ.
    """

    captions: Sequence[Sequence[str]]
    answers: Sequence[int] = ()

    def __post_init__(self) -> None:
        if len(self.captions) != len(self.images):
            raise EvaluationError(
                f"{self.dataset}: {len(self.images)} pictures must have as many lists of captions, "
                f"got {len(self.captions)}"
            )
        if len(self.answers) not in (0, len(self.images)):
            raise EvaluationError(f"{self.dataset}: answers must be empty or one per picture, got {len(self.answers)}")
        for picture, texts in enumerate(self.captions):
            if isinstance(texts, str) or len(texts) < 2:
                raise EvaluationError(
                    f"{self.dataset}: there must be a right and a wrong caption to choose from, got {texts!r} for "
                    f"picture {picture}"
                )
            if not 0 <= self._right(picture) < len(texts):
                raise EvaluationError(
                    f"{self.dataset}: an answer must lie in 0 .. {len(texts) - 1}, the captions offered, "
                    f"got {self._right(picture)} for picture {picture}"
                )
        self._check()

    @property
    def _offered(self) -> list[Sequence[str]]:
        return list(self.captions)

    @property
    def _num_examples(self) -> int:
        return len(self.images)

    def _right(self, picture: int) -> int:
        return self.answers[picture] if len(self.answers) else 0

    def _select(self, scores: NDArray[np.float32]) -> Selection:
        sizes = np.array([len(texts) for texts in self.captions])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        right = starts + np.array([self._right(picture) for picture in range(len(sizes))])
        own, rivals = scores[right], scores.copy()
        rivals[right] = -np.inf
        best = np.maximum.reduceat(rivals, starts)
        return Selection({"acc": (own > best).astype(np.float64)}, own == best, {"acc": 1 / sizes}, scores)


@dataclass(frozen=True, kw_only=True)
class WinogroundTask(_SelectionTask):
    """Match two pictures with two captions that say different things, often in the same words (arXiv:2204.03162).

    Metrics, by CLIP_benchmark's names, each with strict inequalities: ``text_acc``, the text score, the share of
    examples in which each picture is nearer to its own caption than to the other; ``image_acc``, the image score, in
    which each caption is nearer to its own picture; ``acc``, the group score, in which both hold. With ``subsets`` also
    of each, and their mean. Chance is 1/4, 1/4 and 1/6. ``ties`` counts the examples in which two of the cosines that
    are compared are equal, and which are missed for no more than that.

    Attributes:
        captions: of each of the 2N pictures; pictures 2i and 2i + 1 are example i.

    Raises:
        EvaluationError: no pictures, an odd number of them, captions that are none or the same, lengths that differ.
    """

    captions: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.captions) != len(self.images) or len(self.images) % 2:
            raise EvaluationError(
                f"{self.dataset}: an example is two pictures with a caption each, got {len(self.images)} pictures and "
                f"{len(self.captions)} captions"
            )
        self._check()

    @property
    def _offered(self) -> list[Sequence[str]]:
        pairs = [self.captions[start : start + 2] for start in range(0, len(self.captions), 2)]
        return [pair for pair in pairs for _ in range(2)]

    @property
    def _num_examples(self) -> int:
        return len(self.images) // 2

    def _right(self, picture: int) -> int:
        return picture % 2

    def _select(self, scores: NDArray[np.float32]) -> Selection:
        by_picture = scores.reshape(-1, 2, 2)  # example, picture, caption
        own = by_picture[:, [0, 1], [0, 1]]
        other_caption, other_picture = by_picture[:, [0, 1], [1, 0]], by_picture[:, [1, 0], [0, 1]]
        text, image = np.all(own > other_caption, axis=1), np.all(own > other_picture, axis=1)
        both = np.logical_and(text, image)
        is_not_below = np.all((own >= other_caption) & (own >= other_picture), axis=1)
        outcomes = {"text_acc": text, "image_acc": image, "acc": both}
        return Selection(
            {name: np.asarray(values, dtype=np.float64) for name, values in outcomes.items()},
            np.logical_and(is_not_below, ~both),
            {name: np.full(len(both), chance) for name, chance in WINOGROUND_CHANCE.items()},
            scores,
        )


def _mean(weights: NDArray[np.float64], outcomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ``(R, S)`` weighted means; 0 for a resample without any of the examples."""
    total = weights.sum(axis=1, keepdims=True)
    sums = weights @ outcomes
    return np.asarray(np.divide(sums, total, out=np.zeros_like(sums), where=total > 0))
