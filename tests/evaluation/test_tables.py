"""Tables: fractions times 100."""

from __future__ import annotations

from dataclasses import replace

from evaluation import Interval, TaskResult, format_table, metric_rows
from evaluation.tables import format_value

RESULT = TaskResult(
    dataset="glyphs",
    model="m",
    task="retrieval",
    metrics={"recall@1": 0.5274, "median_rank": 3.0, "ties": 1200.0, "acc5": None},
    num_examples=9,
    reasons={"acc5": "few classes"},
    intervals={"recall@1": Interval(0.505, 0.549, 0.95, 9)},
    chance={"recall@1": 0.0012},
    units={"median_rank": "rank", "ties": "count"},
    headline=("recall@1",),
)


def test_fractions_are_times_100_and_other_units_are_not() -> None:
    rows = {row.metric: row for row in metric_rows([RESULT], headline_only=False)}
    assert rows["recall@1"].cells() == ("glyphs", "retrieval", "recall@1", "52.7", "[50.5, 54.9]", "0.1")
    assert rows["median_rank"].value == "3.0"
    assert rows["ties"].value == "1,200"
    assert rows["acc5"].value == "n/a (few classes)"


def test_a_number_is_shown_as_it_is() -> None:
    assert format_value(-3.904, "number") == "-3.90"


def test_a_table_shows_the_headline_unless_asked_for_all() -> None:
    assert [row.metric for row in metric_rows([RESULT])] == ["recall@1"]
    assert len(metric_rows([RESULT, RESULT], headline_only=False)) == 8


def test_text_is_aligned() -> None:
    head, line = format_table([RESULT]).split("\n")
    assert head == "dataset  task       metric    value  95% interval  chance"
    assert line == "glyphs   retrieval  recall@1   52.7  [50.5, 54.9]     0.1"


def test_tasks_on_one_data_set_can_be_told_apart() -> None:
    tasks = ("knn", "linear_probe", "zeroshot_classification", "pair_classification")
    table = format_table([replace(RESULT, task=task) for task in tasks]).splitlines()
    assert [line.split()[:3] for line in table[1:]] == [
        ["glyphs", "knn", "recall@1"],
        ["glyphs", "linear_probe", "recall@1"],
        ["glyphs", "zeroshot", "recall@1"],
        ["glyphs", "pair_classification", "recall@1"],
    ]
    assert max(map(len, table)) < 80
