"""Bitext mining: a sentence finds its translation among the sentences of another language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedder, Embeddings
from evaluation.errors import EvaluationError
from evaluation.exhibits import Exhibits, Item, RankedExample
from evaluation.metrics import Translations, nearest_translations, weighted_f1
from evaluation.results import TaskResult
from evaluation.statistics import Interval, Statistic
from evaluation.tasks.ranked_examples import Side, ranked_examples
from evaluation.tasks.task import embed_texts
from evaluation.tasks.text_task import TextTask


@dataclass(frozen=True, kw_only=True)
class BitextMiningTask(TextTask):
    """Find each sentence's translation as its nearest neighbour by cosine, in both directions, without margins.

    Metrics: ``f1`` and ``accuracy``, from the first language to the second, as MTEB's bitext mining has them (F1 of
    each sentence that can be found, weighed by how often it should be), and ``reverse_f1`` and ``reverse_accuracy``,
    from the second to the first. Ties are misses, and counted as ``ties`` and ``reverse_ties``. A sentence that occurs
    several times is one candidate, so that no sentence has to beat its own copy.

    Attributes:
        first: N sentences.
        second: their N translations.

    Raises:
        EvaluationError: sentences that are none, lengths that differ, or fewer than two different ones on a side.
    """

    task: ClassVar[str] = "bitext_mining"

    first: Sequence[str]
    second: Sequence[str]

    def __post_init__(self) -> None:
        self._check_rows(first=self.first, second=self.second)
        self._check_texts("sentence", [*self.first, *self.second])
        for what, side in zip(("first", "second"), self._sides, strict=True):
            if len(side.texts) < 2:
                raise EvaluationError(f"{self.dataset}: {what} needs two different sentences to choose from, got one")

    @cached_property
    def _sides(self) -> tuple[_Sentences, _Sentences]:
        return _Sentences.of(self.first), _Sentences.of(self.second)

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return accuracy and F1 of both directions with intervals, ties, and some sentences with what they found.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        first, second = (embed_texts(embedder, side.texts) for side in self._sides)
        forward = _Direction.searched("", self._sides[0], self._sides[1], first, second)
        reverse = _Direction.searched("reverse_", self._sides[1], self._sides[0], second, first)
        return self._result(
            embedder,
            {**forward.metrics(), **reverse.metrics()},
            len(self.first),
            {**forward.outcomes(), **reverse.outcomes()},
            intervals={**self._intervals_of(forward), **self._intervals_of(reverse)},
            chance={f"{one.prefix}accuracy": 1 / len(one.candidates.texts) for one in (forward, reverse)},
            units={"ties": "count", "reverse_ties": "count"},
            headline=("f1", "accuracy", "reverse_f1", "reverse_accuracy"),
            notes=tuple(note for one in (forward, reverse) for note in one.notes()),
            exhibits=Exhibits(text_answers=forward.examples(first, second, self.seed)),
        )

    def _intervals_of(self, direction: _Direction) -> dict[str, Interval]:
        return self._intervals(direction.names, direction.statistic(), len(self.first))


@dataclass(frozen=True)
class _Sentences:
    """The different sentences of one language, and ``(N,)`` which of them each row has."""

    texts: list[str]
    row_of: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Sentences:
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        return cls(list(row_of), np.array([row_of[text] for text in texts], dtype=np.int64))


@dataclass(frozen=True)
class _Direction:
    """One of the two ways to search, and its share of the result; ``prefix`` begins the names of its metrics."""

    prefix: str
    queries: _Sentences
    candidates: _Sentences
    outcome: Translations

    @classmethod
    def searched(
        cls, prefix: str, queries: _Sentences, candidates: _Sentences, asked: Embeddings, offered: Embeddings
    ) -> _Direction:
        """Search for each row's translation, by the embeddings of the different sentences of both sides."""
        outcome = nearest_translations(asked[queries.row_of], offered, candidates.row_of)
        return cls(prefix, queries, candidates, outcome)

    @property
    def names(self) -> tuple[str, str]:
        return f"{self.prefix}f1", f"{self.prefix}accuracy"

    def is_right(self) -> NDArray[np.bool_]:
        return np.asarray(self.outcome.found == self.candidates.row_of)

    def statistic(self) -> Statistic:
        own, found, is_right = self.candidates.row_of, self.outcome.found, self.is_right()

        def values(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            f1 = weighted_f1(own, found, len(self.candidates.texts), weights)
            return np.column_stack([f1, weights @ is_right / weights.sum(axis=1)])

        return values

    def metrics(self) -> dict[str, float | None]:
        values = self.statistic()(np.ones((1, len(self.outcome.found))))[0]
        return {**dict(zip(self.names, values.tolist(), strict=True)), f"{self.prefix}ties": float(self._num_tied)}

    def outcomes(self) -> dict[str, NDArray[np.float64]]:
        return {self.names[1]: self.is_right().astype(np.float64)}

    @property
    def _num_tied(self) -> int:
        return int(self.outcome.tied.sum())

    def notes(self) -> list[str]:
        if not self._num_tied:
            return []
        way = "from the second to the first" if self.prefix else "from the first to the second"
        return [
            f"{way.capitalize()}: for {self._num_tied:,} of {len(self.outcome.found):,} sentences a wrong one scored "
            "exactly as high as the translation; it counts as ahead."
        ]

    def examples(self, queries: Embeddings, candidates: Embeddings, seed: int) -> tuple[RankedExample, ...]:
        asked = Side(queries[self.queries.row_of], self.candidates.row_of, self._query)
        offered = Side(candidates, np.arange(len(candidates)), lambda row: Item(self.candidates.texts[row]))
        return ranked_examples(asked, offered, self.outcome.ranks, seed)

    def _query(self, row: int) -> Item:
        return Item(self.queries.texts[self.queries.row_of[row]])
