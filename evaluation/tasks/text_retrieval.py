"""Text retrieval: a query finds the documents that answer it, among all of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedder, Embeddings
from evaluation.errors import EvaluationError
from evaluation.exhibits import Candidate, Exhibits, Item, RankedExample, choose_examples
from evaluation.metrics import (
    RankedGrades,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    rank_grades,
    relevant_recall_at_k,
    similarity,
)
from evaluation.results import TaskResult
from evaluation.statistics import mean_of
from evaluation.tasks.ranked_examples import NUM_CANDIDATES, NUM_EXAMPLES_EACH
from evaluation.tasks.task import embed_texts, example_ids
from evaluation.tasks.text_task import TextTask

DEPTH = 10
QUERY_PROMPTS, DOCUMENT_PROMPTS = ("query",), ("document", "passage", "corpus")
"""What models call the prompts before the two, as sentence-transformers looks for them."""
METRICS: dict[str, Callable[[RankedGrades], NDArray[np.float64]]] = {
    "ndcg_at_10": lambda found: ndcg_at_k(found, DEPTH),
    "mrr_at_10": lambda found: mrr_at_k(found, DEPTH),
    "map_at_10": lambda found: map_at_k(found, DEPTH),
    "recall_at_1": lambda found: relevant_recall_at_k(found, 1),
    "recall_at_5": lambda found: relevant_recall_at_k(found, 5),
    "recall_at_10": lambda found: relevant_recall_at_k(found, 10),
}


@dataclass(frozen=True, kw_only=True)
class TextRetrievalTask(TextTask):
    """Find the documents that are relevant to each query, by cosine, among the whole corpus.

    Metrics are means over queries, as trec_eval and MTEB have them: ``ndcg_at_10``, whose gains are the grades,
    ``mrr_at_10``, ``map_at_10``, and ``recall_at_k``, the share of a query's relevant documents among the first k, for
    k of 1, 5 and 10. Of documents with equal cosines the least relevant come first; queries in which that decided are
    counted as ``ties`` (see `evaluation.metrics.ranking`). An embedder that has prompts puts its ``query`` before
    queries, and its ``document`` before documents.

    Attributes:
        queries: Q texts by id; intervals resample them, ``groups`` are theirs, and so are ``ids``, by
            default those given here.
        corpus: M texts by id.
        relevance: for each query's id the grades of documents by id: above 0 for a relevant one, the higher the more;
            documents not named have 0.

    Raises:
        EvaluationError: no queries or documents, texts that are none, a query without a relevant document, ids that are
            not there.
    """

    task: ClassVar[str] = "text_retrieval"
    example_name: ClassVar[str] = "queries"

    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    relevance: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        self._check_rows(queries=list(self.queries))
        if not self.corpus:
            raise EvaluationError(f"{self.dataset}: {self.task} needs documents, got an empty corpus")
        for what, texts in (("query", self.queries), ("document", self.corpus)):
            self._check_texts(what, list(texts.values()))
        named = {document for grades in self.relevance.values() for document in grades}
        for what, wrong in (("query", set(self.relevance) - set(self.queries)), ("document", named - set(self.corpus))):
            if wrong:
                raise EvaluationError(f'{self.dataset}: relevance names the {what} "{min(wrong)}", which is not there')
        bare = [query for query in self.queries if not any(grade > 0 for grade in self._grades_of(query).values())]
        if bare:
            raise EvaluationError(
                f"{self.dataset}: every query must have a relevant document, {len(bare)} of {len(self.queries)} have "
                f'none, first: "{bare[0]}"'
            )

    def _example_ids(self, num_examples: int) -> NDArray[np.str_]:
        return example_ids(list(self.queries) if self.ids is None else self.ids, num_examples, self.dataset)

    def _grades_of(self, query: str) -> Mapping[str, float]:
        return self.relevance.get(query, {})

    @cached_property
    def _texts(self) -> tuple[list[str], list[str]]:
        """Queries and documents; the same lists each time, so that an embedder may remember them."""
        return list(self.queries.values()), list(self.corpus.values())

    @cached_property
    def _grades(self) -> list[dict[int, float]]:
        """Of each query the grades of documents, by row."""
        row_of = {document: row for row, document in enumerate(self.corpus)}
        return [{row_of[name]: grade for name, grade in self._grades_of(query).items()} for query in self.queries]

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the metrics with intervals and chance, each query's own, and some queries with what they found.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        queries, corpus = (
            embed_texts(embedder, texts, *prompts)
            for texts, prompts in zip(self._texts, (QUERY_PROMPTS, DOCUMENT_PROMPTS), strict=True)
        )
        found = rank_grades(queries, corpus, self._grades, DEPTH)
        by_query = {name: metric(found) for name, metric in METRICS.items()}
        outcomes = np.column_stack(list(by_query.values()))
        return self._result(
            embedder,
            {**{name: float(values.mean()) for name, values in by_query.items()}, "ties": float(found.tied.sum())},
            len(queries),
            by_query,
            intervals=self._intervals(list(METRICS), mean_of(outcomes), len(queries)),
            chance=self._chance(found),
            units={"ties": "count"},
            headline=("ndcg_at_10", "mrr_at_10", "recall_at_10"),
            protocol={"num_documents": len(corpus)},
            notes=tuple(self._notes(found)),
            exhibits=Exhibits(text_answers=self._examples(queries, corpus, found)),
        )

    def _chance(self, found: RankedGrades) -> dict[str, float]:
        """What random order is expected to reach, where that is a short sum."""
        num_documents = len(self.corpus)
        mean_grades = np.array([sum(max(grade, 0) for grade in grades.values()) for grades in self._grades])
        expected = np.repeat(mean_grades[:, None] / num_documents, found.grades.shape[1], axis=1)
        ndcg = ndcg_at_k(replace(found, grades=expected), DEPTH)
        recalls = {f"recall_at_{k}": min(k, num_documents) / num_documents for k in (1, 5, 10)}
        return {"ndcg_at_10": float(ndcg.mean()), **recalls}

    def _notes(self, found: RankedGrades) -> list[str]:
        num_tied, said = int(found.tied.sum()), []
        if num_tied:
            said.append(
                f"For {num_tied:,} of {len(self.queries):,} queries documents of different relevance had exactly the "
                "same cosine; the less relevant count as ahead."
            )
        if len(self.corpus) < DEPTH:
            said.append(f"There are only {len(self.corpus)} documents, so recall beyond that k is always 100.")
        return said

    def _examples(self, queries: Embeddings, corpus: Embeddings, found: RankedGrades) -> tuple[RankedExample, ...]:
        first_is_right = np.where(found.grades[:, 0] > 0, 1, 2)
        chosen = choose_examples(first_is_right, np.arange(len(queries)), NUM_EXAMPLES_EACH, self.seed)
        return tuple(self._example(queries, corpus, row) for rows in chosen for row in rows)

    def _example(self, queries: Embeddings, corpus: Embeddings, row: int) -> RankedExample:
        scores = similarity(queries[row : row + 1], corpus)[0]
        grades = np.zeros(len(corpus))
        grades[list(self._grades[row])] = list(self._grades[row].values())
        order = np.lexsort((grades, -scores)).tolist()
        rank = next(place for place, document in enumerate(order, start=1) if grades[document] > 0)

        def candidate(document: int) -> Candidate:
            return Candidate(Item(self._texts[1][document]), float(scores[document]), bool(grades[document] > 0))

        return RankedExample(
            query=Item(self._texts[0][row]),
            candidates=tuple(candidate(document) for document in order[:NUM_CANDIDATES]),
            wanted=candidate(order[rank - 1]),
            rank=rank,
            num_candidates=len(corpus),
        )
