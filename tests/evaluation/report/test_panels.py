"""What the tables and matrices of the report hold."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import Interval, TaskResult
from evaluation.exhibits import Candidate, ConfusionMatrix, Item, RankedExample, SimilarityMatrix
from evaluation.report.panels import confusion_panel, headline_panel, queries_panel, similarity_panel


def test_headline_bars_are_percentages() -> None:
    result = TaskResult(
        dataset="d",
        model="m",
        task="t",
        metrics={"acc1": 0.5, "acc5": None, "rank": 3.0, "other": 0.1},
        num_examples=1,
        reasons={"acc5": "few"},
        intervals={"acc1": Interval(0.4, 0.65, 0.95, 9)},
        chance={"acc1": 0.1},
        units={"rank": "rank"},
        headline=("acc1", "acc5", "rank"),
    )
    first, second = headline_panel(result)
    assert (first.at, first.low, first.high, first.chance_at) == pytest.approx((50, 40, 65, 10))
    assert (first.value, first.interval, first.chance) == ("50.0", "[40.0, 65.0]", "10.0")
    assert (second.at, second.value) == (None, "n/a (few)")


def test_the_bar_of_a_correlation_begins_at_zero() -> None:
    result = TaskResult(
        dataset="d",
        model="m",
        task="sts",
        metrics={"cosine_spearman": -0.2},
        num_examples=9,
        intervals={"cosine_spearman": Interval(-0.5, 0.1, 0.95, 9)},
    )
    (bar,) = headline_panel(result)
    assert (bar.at, bar.low, bar.high) == (0, 0, 10)
    assert (bar.value, bar.interval) == ("-20.0", "[-50.0, 10.0]")


def test_confusion_shades_are_shares_of_the_row() -> None:
    panel = confusion_panel(ConfusionMatrix(np.array([[3, 1, 0], [0, 0, 0], [2, 4, 0]]), ("a", "b", "c")))
    assert [cell.shade for cell in panel.rows[0]] == [0.75, 0.25, 0]
    assert [cell.text for cell in panel.rows[2]] == ["2", "4", ""]
    assert [cell.is_diagonal for cell in panel.rows[1]] == [False, True, False]


def test_of_many_classes_the_most_frequent_are_shown_in_their_order() -> None:
    counts = np.diag(np.r_[np.zeros(5, dtype=int), np.arange(1, 31)])
    panel = confusion_panel(ConfusionMatrix(counts, tuple(f"class {index}" for index in range(35))))
    assert panel.names == tuple(f"class {index}" for index in range(15, 35))
    assert panel.num_classes == 35


def test_similarity_shades_span_the_sample() -> None:
    items = (Item(text="a"), Item(text="b"))
    panel = similarity_panel(SimilarityMatrix(np.array([[1.0, -0.5], [0.25, 0.0]], np.float32), items, items))
    assert [[cell.shade for cell in row] for row in panel.rows] == [[1, 0], [0.5, pytest.approx(1 / 3)]]
    assert [[cell.text for cell in row] for row in panel.rows] == [["1.00", "-.50"], [".25", ".00"]]
    flat = similarity_panel(SimilarityMatrix(np.ones((2, 2), np.float32), items, items))
    assert all(cell.shade == 0 for row in flat.rows for cell in row)


def test_queries_that_found_and_queries_that_missed_stand_on_two_sides() -> None:
    candidates = tuple(Candidate(Item(text=name), 0.5, name == "a") for name in "abc")
    queries = [RankedExample(Item(text=str(rank)), candidates, candidates[0], rank, 3) for rank in (1, 1, 2, 1, 3)]
    panel = queries_panel(queries, num_each=2, num_candidates=1)
    assert panel is not None
    assert [query.rank for query in panel.found] == [1, 1]
    assert [query.rank for query in panel.missed] == [2, 3]
    assert {len(query.candidates) for query in (*panel.found, *panel.missed)} == {1}
    assert queries_panel([], num_each=2, num_candidates=1) is None
