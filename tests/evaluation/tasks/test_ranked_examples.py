"""What is shown of a query."""

from __future__ import annotations

import numpy as np

from evaluation.exhibits import Item
from evaluation.tasks.ranked_examples import NUM_CANDIDATES, NUM_EXAMPLES_EACH, Side, ranked_examples


def side(scores: np.ndarray, groups: list[int]) -> Side:
    return Side(scores.astype(np.float32), np.array(groups), lambda row: Item(text=str(row)))


def test_the_right_answer_is_shown_even_where_it_came_late() -> None:
    scores = np.array([[0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]])
    (example,) = ranked_examples(side(scores, [6]), side(np.eye(7), list(range(7))), np.array([7]), seed=0)
    assert [candidate.item.text for candidate in example.candidates] == ["0", "1", "2", "3", "4"]
    assert not any(candidate.is_relevant for candidate in example.candidates)
    assert (example.wanted.item.text, example.rank, example.num_candidates) == ("6", 7, 7)
    assert np.isclose(example.wanted.score, 0.2)


def test_no_more_than_a_handful_and_candidates_as_many_as_there_are() -> None:
    queries = side(np.tile([1.0, 0.0], (30, 1)), [0] * 15 + [1] * 15)
    shown = ranked_examples(queries, side(np.eye(2), [0, 1]), np.array([1] * 15 + [2] * 15), seed=0)
    assert [example.rank for example in shown] == [1, 2]  # one per group
    assert all(len(example.candidates) == 2 < NUM_CANDIDATES for example in shown)
    queries = side(np.tile([1.0, 0.0], (30, 1)), list(range(30)))
    candidates = side(np.ones((30, 2)), list(range(30)))
    assert len(ranked_examples(queries, candidates, np.ones(30, dtype=int), seed=0)) == NUM_EXAMPLES_EACH
