"""A comparison as text, markdown, LaTeX, HTML and CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation import (
    Comparison,
    Interval,
    MetricComparison,
    Pair,
    PairedComparison,
    Score,
    compare,
    csv_table,
    format_comparison,
    latex_table,
    markdown_table,
)
from evaluation.comparison_tables import format_p, html_table, sentence
from tests.evaluation.compared import judged


def pair(first: str, second: str, difference: float, p_value: float) -> Pair:
    interval = Interval(difference - 0.04, difference + 0.04, 0.95, 100)
    return Pair(first, second, PairedComparison(difference, interval, p_value / 3), p_value)


def of_dataset(*datasets: str) -> MetricComparison:
    interval = Interval(0.66, 0.74, 0.95, 100)
    scores = (
        Score("ours & <co>", 0.7, interval),
        Score("b_1", 0.68, None, std=0.004, num_runs=3),
        Score("c", 0.5, interval),
    )
    pairs = (
        pair("ours & <co>", "b_1", 0.02, 0.31),
        pair("ours & <co>", "c", 0.2, 0.0006),
        pair("b_1", "c", 0.18, 0.004),
    )
    return MetricComparison(datasets, "knn", "acc1", 100, scores, pairs)


COMPARISON = Comparison(
    ("c", "b_1", "ours & <co>"),
    (of_dataset("photos"), of_dataset("a_b")),
    (of_dataset("photos", "a_b"),),
    ("digits knn: c is not comparable",),
    {},
)


def test_text_has_the_best_first_and_says_what_is_not_told_apart() -> None:
    lines = format_comparison(COMPARISON).splitlines()
    assert lines[0].split()[:5] == ["dataset", "task", "metric", "model", "value"]
    assert lines[1].split() == ["photos", "knn", "acc1", "ours", "&", "<co>", "70.0", "[66.0,", "74.0]"]
    assert "68.0 ± 0.4 (3 runs)" in lines[2]
    assert lines[2].endswith(" 2.0   [-2.0, 6.0]    0.31")
    assert lines[3].endswith("20.0  [16.0, 24.0]  <0.001")
    assert lines[7].startswith("mean over 2")
    assert "mean over 2 knn acc1: 1 of 3 pairs not told apart (Holm): ours & <co> and b_1" in lines
    assert lines[-1] == "digits knn: c is not comparable"


def test_runs_that_are_taken_for_one_model_are_named() -> None:
    results = {"ours": [judged(f"ours-{seed}", 0.8, seed=seed) for seed in range(2)], "b": [judged("b", 0.5)]}
    assert "ours is one model of several seeds: ours-0, ours-1" in format_comparison(compare(results)).splitlines()
    assert "several seeds" not in format_comparison(compare({"b": results["b"]}))


def test_sentences_tell_one_pair_many_and_ties() -> None:
    one = of_dataset("photos")
    apart = MetricComparison(one.datasets, "knn", "acc1", 100, one.scores, one.pairs[1:])
    assert sentence(apart) == "photos knn acc1: all 2 pairs told apart (Holm)"
    assert sentence(MetricComparison(("photos",), "knn", "acc1", 100, one.scores, one.pairs[2:])) == (
        "photos knn acc1: told apart"
    )
    many = tuple(pair("a", f"m{number}", 0.0, 1.0) for number in range(15))
    said = sentence(MetricComparison(("photos",), "knn", "acc1", 100, one.scores, many))
    assert said.startswith("photos knn acc1: 15 of 15 pairs not told apart (Holm): a and m0 (equal), a and m1 (equal)")
    assert said.endswith("a and m11 (equal), and 3 more")


def test_small_p_values_are_not_shown_as_nothing() -> None:
    assert [format_p(value) for value in (0.0006, 0.004, 0.31, 1.0)] == ["<0.001", "0.004", "0.31", "1"]


def test_markdown_marks_the_best_and_what_is_not_told_apart() -> None:
    lines = markdown_table(COMPARISON).splitlines()
    assert lines[0] == "|  | photos | a_b | mean over 2 |"
    assert lines[2] == "| c | 50.0 | 50.0 | 50.0 |"
    assert lines[3] == "| b_1 | <u>68.0 ± 0.4</u> | <u>68.0 ± 0.4</u> | <u>68.0 ± 0.4</u> |"
    assert lines[4] == "| ours & <co> | **70.0** | **70.0** | **70.0** |"
    assert lines[-1].startswith("Percents. Bold: best")


def test_latex_is_of_booktabs_with_names_escaped() -> None:
    lines = latex_table(COMPARISON).splitlines()
    assert lines[1:4] == [r"\begin{tabular}{lrrr}", r"\toprule", r" & photos & a\_b & mean over 2 \\"]
    assert r"ours \& <co> & \textbf{70.0} & \textbf{70.0} & \textbf{70.0} \\" in lines
    assert r"b\_1 & \underline{68.0 $\pm$ 0.4} & \underline{68.0 $\pm$ 0.4} & \underline{68.0 $\pm$ 0.4} \\" in lines
    with_caption = latex_table(COMPARISON, caption="100% of {all}")
    assert r"\caption{100\% of \{all\}}" in with_caption
    assert with_caption.startswith("\\begin{table}\n")


def test_many_data_sets_stand_below_each_other() -> None:
    every = tuple(of_dataset(f"d{number}") for number in range(9))
    lines = markdown_table(Comparison(COMPARISON.models, every, (), (), {})).splitlines()
    assert lines[0] == "|  | c | b_1 | ours & <co> |"
    assert lines[3] == "| d1 | 50.0 | <u>68.0 ± 0.4</u> | **70.0** |"


def test_different_metrics_are_named_in_the_head() -> None:
    other = MetricComparison(("photos",), "knn", "acc5", 100, of_dataset("photos").scores, ())
    head = markdown_table(Comparison(COMPARISON.models, (of_dataset("photos"), other), (), (), {})).splitlines()[0]
    assert head == "|  | photos acc1 | photos acc5 |"
    of_task = MetricComparison(("photos",), "sts", "acc1", 100, of_dataset("photos").scores, ())
    head = markdown_table(Comparison(COMPARISON.models, (of_dataset("photos"), of_task), (), (), {})).splitlines()[0]
    assert head == "|  | photos knn | photos sts |"


def test_equally_good_ones_are_both_the_best() -> None:
    result = judged("a", 0.8)
    lines = markdown_table(compare({"a": [result], "b": [result]})).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:4]] == ["**72.5** |", "**72.5** |"]


def test_a_model_that_was_not_judged_has_an_empty_cell() -> None:
    comparison = compare({"a": [judged("a", 0.8)], "b": [judged("b", 0.6, dataset="digits")], "c": [judged("c", 0.5)]})
    assert markdown_table(comparison).splitlines()[3] == "| b |  | 55.0 |"


def test_a_notebook_shows_it_with_names_escaped() -> None:
    page = COMPARISON._repr_html_()
    assert "<td>ours &amp; &lt;co&gt;</td><td><b>70.0</b></td>" in page
    assert "<p>mean over 2 knn acc1: 1 of 3 pairs not told apart (Holm)" in page


def test_json_holds_every_pair() -> None:
    record = json.loads(COMPARISON.to_json())
    assert record["means"][0]["pairs"][0]["adjusted_p"] == 0.31
    assert record["by_dataset"][1]["scores"][1]["num_runs"] == 3
    assert "results" not in record


@pytest.mark.parametrize("table", [markdown_table, latex_table, html_table])
def test_a_model_of_which_nothing_can_be_shown_is_a_row_without_cells(table: Callable[[Comparison], str]) -> None:
    comparison = compare({"tried": [judged("tried", 0.6, is_partial=True)]})
    assert comparison.left_out == ("photos knn: tried was judged on the first rows only",)
    assert "tried" in table(comparison)


def test_csv_has_clip_benchmarks_columns() -> None:
    results = {
        "a": [judged("ViT-B-32", 0.8, pretrained="openai")],
        "b": [judged("b", 0.6, metrics={"acc5": None}, reasons={"acc5": "few"})],
        "first rows": [judged("c", 0.6, is_partial=True)],
    }
    rows = list(csv.DictReader(io.StringIO(csv_table(results))))
    assert [row["model"] for row in rows] == ["ViT-B-32", "b"]
    assert rows[0]["model_fullname"] == "ViT-B-32 openai"
    assert float(rows[0]["acc1"]) == results["a"][0].metrics["acc1"]
    assert (rows[1]["acc5"], rows[1]["acc1"], rows[1]["dataset"], rows[1]["language"]) == ("", "", "photos", "en")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # theirs
def test_clip_benchmark_reads_our_results_as_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clip_benchmark.cli import main as clip_benchmark

    for name, accuracy in (("photos", 0.8), ("digits", 0.4)):
        judged("ViT-B-32", accuracy, pretrained="openai", dataset=name).write(tmp_path / "results" / f"{name}.json")
    output = tmp_path / "benchmark.csv"
    monkeypatch.setattr(sys, "argv", ["clip_benchmark", "build", str(tmp_path / "results"), "--output", str(output)])
    clip_benchmark()
    rows = {row["dataset"]: row for row in csv.DictReader(output.read_text().splitlines())}
    assert set(rows) == {"photos", "digits"}
    assert float(rows["photos"]["acc1"]) == pytest.approx(judged("x", 0.8).metrics["acc1"])
    ours = csv.DictReader(io.StringIO(csv_table({"a": [judged("ViT-B-32", 0.8, pretrained="openai")]})))
    for row in ours:
        assert {name: rows["photos"][name] for name in row} == row
