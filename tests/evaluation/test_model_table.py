from __future__ import annotations

from dataclasses import replace

from evaluation import TaskResult, format_model_table, format_table
from evaluation.model_table import model_label


def result(model: str, acc1: float | None, rank: float = 2.0, **fields: object) -> TaskResult:
    metrics = {"acc1": acc1, "mean_rank": rank, "uniformity": -rank}
    return replace(
        TaskResult(
            dataset="digits",
            model=model,
            task="zeroshot_classification",
            metrics=metrics,
            num_examples=4,
            headline=tuple(metrics),
            units={"mean_rank": "rank", "uniformity": "number"},
            reasons={} if acc1 is not None else {"acc1": "no classes"},
        ),
        **fields,  # type: ignore[arg-type]
    )


def test_models_are_columns_and_the_best_of_each_metric_is_marked() -> None:
    shown = format_model_table([result("a", 0.5, 1), result("b", 0.25, 3), result("c", 0.5, 3)])
    assert [line.split() for line in shown.splitlines()] == [
        ["dataset", "task", "metric", "a", "b", "c"],
        ["digits", "zeroshot", "acc1", "50.0*", "25.0", "50.0*"],
        ["digits", "zeroshot", "mean_rank", "1.0*", "3.0", "3.0"],
        ["digits", "zeroshot", "uniformity", "-1.00", "-3.00", "-3.00"],
    ]


def test_nothing_is_best_where_all_are_equal_or_one_has_no_value() -> None:
    assert "*" not in format_model_table([result("a", 0.5), result("b", 0.5)])
    shown = format_model_table([result("a", 0.5), result("b", None)])
    assert "*" not in shown
    assert "n/a (no classes)" in shown


def test_many_models_stand_below_each_other() -> None:
    shown = format_model_table([result(f"model {number}", number / 10) for number in range(12)])
    assert max(map(len, shown.splitlines())) < 100
    assert shown.splitlines()[0].split() == ["dataset", "task", "metric", "model", "value", "95%", "interval"]
    assert sum("acc1" in line for line in shown.splitlines()) == 12
    (best,) = [line for line in shown.splitlines() if "*" in line]
    assert "model 11" in best


def test_a_task_that_only_some_models_did_leaves_a_gap() -> None:
    other = replace(result("b", 0.25), dataset="emoji")
    lines = format_model_table([result("a", 0.5), other]).splitlines()
    assert [line.split() for line in lines if "acc1" in line] == [
        ["digits", "zeroshot", "acc1", "50.0"],
        ["emoji", "zeroshot", "acc1", "25.0"],
    ]


def test_tables_say_that_only_the_first_rows_were_judged() -> None:
    partial = [result("a", 0.5, is_partial=True), result("b", 0.4, is_partial=True)]
    assert "digits (first rows only)" in format_table(partial)
    assert "digits (first rows only)" in format_model_table(partial)
    assert "first rows" not in format_table([result("a", 0.5)])


def test_two_weights_of_one_architecture_are_told_apart() -> None:
    assert model_label(result("ViT-B-32", 0.5, pretrained="openai")) == "ViT-B-32,openai"
    assert model_label(result("runs/a", 0.5, pretrained="runs/a")) == "runs/a"
