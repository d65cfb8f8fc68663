"""Queries that find documents by the angle between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from evaluation import CachedEmbedder, EvaluationError, TextRetrievalTask
from tests.evaluation.fakes import AngleEmbedder, CollapsedEmbedder

CORPUS = {f"d{angle}": f"document {angle}" for angle in range(0, 360, 15)}
QUERIES = {"q0": "query 1", "q1": "query 92", "q2": "query 181"}
RELEVANCE = {"q0": {"d0": 2, "d30": 1}, "q1": {"d105": 1, "d90": 0}, "q2": {"d0": 1}}


def task_of(**fields: Any) -> TextRetrievalTask:
    given: dict[str, Any] = {"queries": QUERIES, "corpus": CORPUS, "relevance": RELEVANCE, "dataset": "angles"}
    return TextRetrievalTask(**{**given, **fields})


def test_metrics_are_means_over_queries_counted_by_hand() -> None:
    """The first query finds its documents at ranks 1 and 4, the second at 2, and the third beyond 10."""
    result = task_of().evaluate(AngleEmbedder())
    first, second = (2 + 1 / np.log2(5)) / (2 + 1 / np.log2(3)), 1 / np.log2(3)
    assert result.metrics["ndcg_at_10"] == pytest.approx((first + second) / 3)
    assert result.metrics["mrr_at_10"] == pytest.approx((1 + 1 / 2) / 3)
    assert result.metrics["map_at_10"] == pytest.approx(((1 + 2 / 4) / 2 + 1 / 2) / 3)
    assert result.metrics["recall_at_1"] == pytest.approx(0.5 / 3)
    assert result.metrics["recall_at_5"] == result.metrics["recall_at_10"] == pytest.approx(2 / 3)
    assert result.headline == ("ndcg_at_10", "mrr_at_10", "recall_at_10")
    assert (result.num_examples, result.example_name) == (3, "queries")
    assert result.examples["mrr_at_10"].tolist() == [1, 0.5, 0]
    assert result.protocol == {"num_documents": 24}
    assert result.intervals["ndcg_at_10"].num_units == 3


def test_chance_is_what_random_orders_reach() -> None:
    result = task_of().evaluate(AngleEmbedder())
    rng, reached = np.random.default_rng(0), []
    for _ in range(4000):
        grades = np.zeros(24)
        grades[:2] = 2, 1
        drawn = rng.permutation(grades)[:10]
        discounts = 1 / np.log2(np.arange(10) + 2)
        reached.append((drawn @ discounts) / (2 + 1 / np.log2(3)))
    one = 1 / 24 * sum(1 / np.log2(np.arange(10) + 2))
    assert result.chance["ndcg_at_10"] == pytest.approx((np.mean(reached) + 2 * one) / 3, abs=0.01)
    assert result.chance["recall_at_5"] == 5 / 24


def test_a_collapsed_model_finds_nothing_and_the_ties_are_said() -> None:
    result = task_of().evaluate(CollapsedEmbedder())
    assert result.metrics["ndcg_at_10"] == result.metrics["recall_at_10"] == 0
    assert result.metrics["ties"] == 3
    assert result.notes == (
        "For 3 of 3 queries documents of different relevance had exactly the same cosine; the less relevant count as "
        "ahead.",
    )


@pytest.mark.parametrize("document", ["document", "passage", "corpus"])
def test_queries_and_documents_go_behind_the_prompts_of_the_model(document: str) -> None:
    class Prompted(AngleEmbedder):
        prompts: ClassVar = {"query": "q: ", document: "d: "}

        def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> np.ndarray:
            seen.append((prompt, len(texts)))
            return super().encode_texts(texts)

    seen: list[tuple[str | None, int]] = []
    task_of().evaluate(Prompted())
    assert seen == [("query", 3), (document, 24)]


def test_a_small_corpus_is_said_to_be_one() -> None:
    task = task_of(corpus={"a": "x 1", "b": "y 50"}, relevance={query: {"a": 1} for query in QUERIES})
    result = task.evaluate(AngleEmbedder())
    assert result.notes == ("There are only 2 documents, so recall beyond that k is always 100.",)
    assert result.metrics["recall_at_10"] == 1


def test_examples_show_the_answers_and_the_best_relevant_one() -> None:
    examples = {one.query.text: one for one in task_of().evaluate(AngleEmbedder()).exhibits.text_answers}
    assert [one.item.text for one in examples["query 92"].candidates[:2]] == ["document 90", "document 105"]
    assert [one.is_relevant for one in examples["query 92"].candidates[:2]] == [False, True]
    assert (examples["query 92"].rank, examples["query 181"].rank, examples["query 181"].num_candidates) == (2, 24, 24)
    assert examples["query 181"].wanted.item.text == "document 0"


def test_a_second_judgement_encodes_nothing_again() -> None:
    task, embedder = task_of(), AngleEmbedder()
    cached = CachedEmbedder(embedder)
    assert task.evaluate(cached) == task.evaluate(cached)
    assert embedder.num_texts == 27


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"queries": {}, "relevance": {}}, "text_retrieval needs queries, got none"),
        ({"corpus": {}, "relevance": {}}, "text_retrieval needs documents, got an empty corpus"),
        ({"corpus": {**CORPUS, "d": ""}}, "every document must be a text, got ''"),
        ({"relevance": {**RELEVANCE, "q9": {"d0": 1}}}, 'relevance names the query "q9", which is not there'),
        ({"relevance": {**RELEVANCE, "q0": {"x": 1}}}, 'relevance names the document "x", which is not there'),
        ({"relevance": {"q0": {"d0": 1}, "q1": {"d0": 0}}}, '2 of 3 have none, first: "q1"'),
        ({"groups": [1]}, "groups must be as many as queries, 3, got 1"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        task_of(**fields)
