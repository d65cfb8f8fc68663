"""Representation health: do embeddings use their space, and do pictures and their captions meet in it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedder, Embeddings, Picture, modalities_of
from evaluation.errors import EvaluationError
from evaluation.metrics import alignment, effective_rank, modality_gap, spread, uniformity
from evaluation.results import TaskResult
from evaluation.statistics import RESAMPLES, Interval, bootstrap_intervals
from evaluation.tasks.task import embed_images, embed_texts, example_ids, identify

MAX_ROWS = 10_000
"""Of more rows so many are drawn, and of more texts of these for uniformity and effective rank, because the work rises
with their square."""

Weighted = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class RepresentationHealthTask:
    """Look at embeddings alone, without asking whether an answer is right.

    Metrics, of the modalities that data and model both have: ``image_uniformity``, ``image_spread`` and
    ``image_effective_rank``, and the same of ``text``; of both ``alignment``, over each picture and each of its
    captions, and ``modality_gap``. See `evaluation.metrics.health`. Of a text that occurs several times one counts.
    Intervals, of all but uniformity and effective rank, resample rows, or groups of them.

    Attributes:
        images: N pictures, decoded when asked for, or none.
        captions: for each of N rows its texts; or none.
        dataset: name in results.
        split: name in results.
        language: of the texts, ISO 639-1.
        groups: ``(N,)`` ids of rows that are not independent, or None.
        ids: ``(N,)`` ids of the rows, by which results of several models are paired; by default their places.
        resamples: of the bootstrap.
        seed: of the bootstrap, and of the rows drawn.

    Raises:
        EvaluationError: neither pictures nor texts, lengths that differ, captions that are no texts.
    """

    task: ClassVar[str] = "representation_health"

    images: Sequence[Picture] = ()
    captions: Sequence[Sequence[str]] = ()
    dataset: str
    split: str = "test"
    language: str = "en"
    groups: Sequence[int] | NDArray[np.int64] | None = None
    ids: Sequence[str] | None = None
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        given = {"pictures": len(self.images), "captions": len(self.captions)}
        wrong = {what: count for what, count in given.items() if count not in (0, self._num_rows)}
        if self.groups is not None and len(self.groups) != self._num_rows:
            wrong["groups"] = len(self.groups)
        for what, count in wrong.items():
            raise EvaluationError(f"{self.dataset}: {self._num_rows} rows must have as many {what}, got {count}")
        for row, texts in enumerate(self.captions):
            bad = next((text for text in texts if not isinstance(text, str) or not text.strip()), None)
            if isinstance(texts, str) or bad is not None:
                raise EvaluationError(f"{self.dataset}: every row has a list of texts, got {texts!r} for row {row}")
        example_ids(self.ids, self._num_rows, self.dataset)
        if max(len(self.images), len(self._texts)) < 2:
            raise EvaluationError(f"{self.dataset}: {self.task} needs at least two pictures or two different texts")

    @property
    def _num_rows(self) -> int:
        return max(len(self.images), len(self.captions))

    @cached_property
    def _drawn(self) -> NDArray[np.int64]:
        """The rows that are looked at, in order."""
        if self._num_rows <= MAX_ROWS:
            return np.arange(self._num_rows)
        return np.sort(np.random.default_rng(self.seed).choice(self._num_rows, MAX_ROWS, replace=False))

    @property
    def _drawn_captions(self) -> list[Sequence[str]]:
        return [self.captions[row] for row in self._drawn.tolist()] if len(self.captions) else []

    @cached_property
    def _row_of_text(self) -> dict[str, int]:
        """The different texts of the rows drawn, and which of these has each first."""
        found: dict[str, int] = {}
        for number, texts in enumerate(self._drawn_captions):
            for text in texts:
                found.setdefault(text, number)
        return found

    @cached_property
    def _texts(self) -> list[str]:
        """The different texts; the same list each time, so that an embedder may remember them."""
        return list(self._row_of_text)

    @cached_property
    def _pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the pictures drawn, and of the texts, belong together."""
        place = {text: place for place, text in enumerate(self._texts)}
        pairs = [(row, place[text]) for row, texts in enumerate(self._drawn_captions) for text in texts]
        rows, places = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return rows, places

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the figures, those that are means with intervals.

        Raises:
            EvaluationError: the model encodes nothing of what there is, or embeddings that are not what the protocol
                promises.
        """
        able, embedded = modalities_of(embedder), {}
        if len(self.images) > 1 and "image" in able:
            embedded["image"] = embed_images(embedder, self.images)[self._drawn]
        if len(self._texts) > 1 and "text" in able:
            embedded["text"] = embed_texts(embedder, self._texts)
        if not embedded:
            raise EvaluationError(f"{self.dataset}: {embedder.name} encodes {' and '.join(able)}s, and there are none")
        metrics = {f"{kind}_{name}": value for kind, rows in embedded.items() for name, value in self._of(rows).items()}
        if len(embedded) == 2:
            rows, places = self._pairs
            metrics["alignment"] = alignment(embedded["image"][rows], embedded["text"][places])
            metrics["modality_gap"] = modality_gap(embedded["image"], embedded["text"])
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            language=self.language,
            task=self.task,
            metrics=metrics,
            num_examples=len(self._drawn),
            example_name="rows",
            intervals=self._intervals(embedded),
            units=dict.fromkeys(metrics, "number"),
            headline=tuple(metrics),
            notes=tuple(self._notes()),
            examples={"id": example_ids(self.ids, self._num_rows, self.dataset)[self._drawn]}
            | ({} if self._groups is None else {"group": self._groups}),
        )

    @property
    def _groups(self) -> NDArray[np.int64] | None:
        return None if self.groups is None else np.asarray(self.groups)[self._drawn]

    def _notes(self) -> list[str]:
        said = []
        if self._num_rows > MAX_ROWS:
            said.append(f"Of {self._num_rows:,} rows {MAX_ROWS:,} are looked at, drawn by chance.")
        if len(self._texts) > MAX_ROWS:
            said.append(f"Uniformity and effective rank of texts are of {MAX_ROWS:,} of them, drawn by chance.")
        return said

    def _of(self, rows: Embeddings) -> dict[str, float]:
        some = rows
        if len(rows) > MAX_ROWS:
            some = rows[np.random.default_rng(self.seed).choice(len(rows), MAX_ROWS, replace=False)]
        return {"uniformity": uniformity(some), "spread": spread(rows), "effective_rank": effective_rank(some)}

    def _intervals(self, embedded: dict[str, Embeddings]) -> dict[str, Interval]:
        """Return intervals of what is a function of weighted means."""
        row_of = {"image": np.arange(len(self._drawn)), "text": np.array(list(self._row_of_text.values()), dtype=int)}
        wide = {kind: rows.astype(np.float64) for kind, rows in embedded.items()}
        statistics: dict[str, Weighted] = {
            f"{kind}_spread": lambda weights, kind=kind: _spread(weights[:, row_of[kind]], wide[kind])  # type: ignore[misc]
            for kind in wide
        }
        if len(wide) == 2:
            rows, places = self._pairs
            distances = ((wide["image"][rows] - wide["text"][places]) ** 2).sum(axis=1, keepdims=True)
            statistics["alignment"] = lambda weights: _mean(weights[:, rows], distances)[:, 0]
            statistics["modality_gap"] = lambda weights: np.linalg.norm(
                _mean(weights[:, row_of["image"]], wide["image"]) - _mean(weights[:, row_of["text"]], wide["text"]),
                axis=1,
            )
        found = bootstrap_intervals(
            lambda weights: np.column_stack([of(weights) for of in statistics.values()]),
            len(self._drawn),
            self._groups,
            resamples=self.resamples,
            seed=self.seed,
        )
        return dict(zip(statistics, found, strict=True)) if found else {}


def _mean(weights: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(R, D)`` weighted means; 0 for a resample in which nothing has a weight."""
    return np.asarray((weights @ rows) / np.maximum(weights.sum(axis=1, keepdims=True), 1))


def _spread(weights: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    variance = _mean(weights, rows**2) - _mean(weights, rows) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0)).mean(axis=1) * np.sqrt(rows.shape[1]))
