"""Image-image retrieval: a picture finds the other pictures of its kind, without any text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedder, Embeddings, Picture
from evaluation.errors import EvaluationError
from evaluation.exhibits import Candidate, Exhibits, Item, RankedExample, choose_examples, picture_item
from evaluation.metrics import chance_recall_at_k, recall_at_k, similarity
from evaluation.metrics.label_retrieval import LabelRanks, chance_average_precision, rank_by_label
from evaluation.results import TaskResult
from evaluation.statistics import RESAMPLES, bootstrap_intervals, mean_of
from evaluation.tasks.ranked_examples import NUM_CANDIDATES, NUM_EXAMPLES_EACH
from evaluation.tasks.task import embed_images, example_ids, identify

CUTOFFS = (1, 5, 10)
METRICS = (*(f"recall@{k}" for k in CUTOFFS), "map@r", "map")


@dataclass(frozen=True, kw_only=True)
class ImageRetrievalTask:
    """Find the pictures whose label is a picture's own, by cosine.

    Without a gallery every picture is sought among all others (leave one out); one whose label no other has is no query
    and stays a candidate, which a note says.

    Metrics: ``recall@k``, the share of queries with a relevant picture among the first k, for k of 1, 5, 10; ``map@r``,
    the mean average precision over as many places as there are relevant pictures (arXiv:2003.08505), and ``map``, over
    all. ``ties`` counts the queries for which a rival scored exactly as high as a relevant picture; it counts as ahead.

    Attributes:
        images: N pictures to search with, decoded when asked for.
        labels: ``(N,)`` what each shows: a class, an instance, a group.
        gallery: M pictures to search in; None for the pictures themselves.
        gallery_labels: ``(M,)`` what those show.
        dataset: name in results.
        split: name in results.
        groups: ``(N,)`` ids of pictures that are not independent, which intervals resample together, or None.
        ids: ``(N,)`` ids of the pictures, by which results of several models are paired; by default their places.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the examples shown.

    Raises:
        EvaluationError: no pictures, no or missing labels, lengths that differ, or no picture with anything to find.
    """

    task: ClassVar[str] = "image_retrieval"

    images: Sequence[Picture]
    labels: Sequence[str | int | None]
    gallery: Sequence[Picture] | None = None
    gallery_labels: Sequence[str | int | None] = ()
    dataset: str
    split: str = "test"
    groups: Sequence[int] | NDArray[np.int64] | None = None
    ids: Sequence[str] | None = None
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        sides = [("pictures", self.images, self.labels)]
        if self.gallery is not None:
            sides.append(("pictures of the gallery", self.gallery, self.gallery_labels))
        elif len(self.gallery_labels):
            raise EvaluationError(f"{self.dataset}: gallery_labels belong to a gallery, and there is none")
        for what, images, labels in sides:
            if len(images) == 0:
                raise EvaluationError(f"{self.dataset}: {self.task} needs {what}, got none")
            if len(labels) != len(images):
                raise EvaluationError(
                    f"{self.dataset}: {len(images)} {what} must have as many labels, got {len(labels)}"
                )
            bare = [index for index, label in enumerate(labels) if label is None]
            if bare:
                raise EvaluationError(f"{self.dataset}: {len(bare)} {what} have no label, first: {bare[0]}")
        if self.groups is not None and len(self.groups) != len(self.images):
            raise EvaluationError(
                f"{self.dataset}: {len(self.images)} pictures must have as many groups, got {len(self.groups)}"
            )
        example_ids(self.ids, len(self.images), self.dataset)
        if not len(self._queries):
            raise EvaluationError(
                f"{self.dataset}: no picture has anything to find: "
                + ("no two have one label" if self.gallery is None else "no label of theirs occurs in the gallery")
            )

    @cached_property
    def _codes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers for the labels of the pictures, and of the candidates."""
        every = np.array([str(label) for label in (*self.labels, *self.gallery_labels)])
        codes = np.unique(every, return_inverse=True)[1].astype(np.int64)
        own = codes[: len(self.images)]
        return own, own if self.gallery is None else codes[len(self.images) :]

    @cached_property
    def _queries(self) -> NDArray[np.int64]:
        """The pictures that have something to find."""
        own, offered = self._codes
        counts = np.bincount(offered, minlength=max(own.max(), offered.max()) + 1) - (self.gallery is None)
        return np.flatnonzero(counts[own] > 0)

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the metrics with intervals and chance, each query's own, and some queries with what they found.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        images = embed_images(embedder, self.images)
        candidates = images if self.gallery is None else embed_images(embedder, self.gallery)
        rows, (own, offered) = self._queries, self._codes
        found = rank_by_label(images[rows], candidates, own[rows], offered, rows if self.gallery is None else None)
        groups = None if self.groups is None else np.asarray(self.groups)[rows]
        hits = (found.ranks[:, None] <= np.array(CUTOFFS)).astype(np.float64)
        outcomes = np.column_stack([hits, found.map_at_r, found.average_precision])
        intervals = bootstrap_intervals(mean_of(outcomes), len(rows), groups, resamples=self.resamples, seed=self.seed)
        recalls = {f"recall@{k}": recall_at_k(found.ranks, k) for k in CUTOFFS}
        precisions = {"map@r": float(found.map_at_r.mean()), "map": float(found.average_precision.mean())}
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            task=self.task,
            metrics={**recalls, **precisions, "ties": float(found.tied.sum())},
            num_examples=len(rows),
            example_name="queries",
            intervals=dict(zip(METRICS, intervals, strict=True)) if intervals else {},
            chance=_chance(found),
            units={"ties": "count"},
            headline=("recall@1", "map@r"),
            notes=tuple(self._notes(found)),
            protocol={"num_candidates": found.num_candidates, "leave_one_out": self.gallery is None},
            examples={
                "id": example_ids(self.ids, len(self.images), self.dataset)[rows],
                "rank": found.ranks,
                "recall@1": hits[:, 0],
                "map@r": found.map_at_r,
                "map": found.average_precision,
            }
            | ({} if groups is None else {"group": groups}),
            exhibits=Exhibits(image_queries=self._examples(images, candidates, found)),
        )

    def _notes(self, found: LabelRanks) -> list[str]:
        num_lone, num_tied, said = len(self.images) - len(self._queries), int(found.tied.sum()), []
        if num_lone:
            said.append(f"{num_lone:,} of {len(self.images):,} pictures have nothing to find and are no queries.")
        if num_tied:
            said.append(
                f"For {num_tied:,} of {len(self._queries):,} queries a picture of another label scored exactly as high "
                "as one of theirs; it counts as ahead."
            )
        if found.num_candidates < max(CUTOFFS):
            said.append(f"There are only {found.num_candidates} candidates, so recall beyond that k is always 100.")
        return said

    def _examples(self, images: Embeddings, candidates: Embeddings, found: LabelRanks) -> tuple[RankedExample, ...]:
        chosen = choose_examples(found.ranks, self._codes[0][self._queries], NUM_EXAMPLES_EACH, self.seed)
        return tuple(
            self._example(images, candidates, int(self._queries[number]), int(found.ranks[number]))
            for numbers in chosen
            for number in numbers
        )

    def _example(self, images: Embeddings, candidates: Embeddings, row: int, rank: int) -> RankedExample:
        scores = similarity(images[row : row + 1], candidates)[0]
        is_relevant = self._codes[1] == self._codes[0][row]
        order = np.lexsort((is_relevant, -scores))
        if self.gallery is None:
            order = order[order != row]

        def candidate(index: int) -> Candidate:
            return Candidate(self._item(index), float(scores[index]), bool(is_relevant[index]))

        return RankedExample(
            query=picture_item(self.images, row, str(self.labels[row])),
            candidates=tuple(candidate(index) for index in order[:NUM_CANDIDATES].tolist()),
            wanted=candidate(int(order[is_relevant[order]][0])),
            rank=rank,
            num_candidates=len(order),
        )

    def _item(self, candidate: int) -> Item:
        if self.gallery is None:
            return picture_item(self.images, candidate, str(self.labels[candidate]))
        return picture_item(self.gallery, candidate, str(self.gallery_labels[candidate]))


def _chance(found: LabelRanks) -> dict[str, Any]:
    recalls = {f"recall@{k}": chance_recall_at_k(found.num_relevant, found.num_candidates, k) for k in CUTOFFS}
    at_r = chance_average_precision(found.num_relevant, found.num_candidates, found.num_relevant)
    return {**recalls, "map@r": at_r, "map": chance_average_precision(found.num_relevant, found.num_candidates)}
