"""Who is best, and who is not told apart from the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation import TaskResult
from evaluation.report.standings import contests, model_names, standings

LABELS = np.arange(400) % 4
IDS = np.arange(400).astype(str)


def result_of(model: str, num_right: int, dataset: str = "d", **changes: object) -> TaskResult:
    """A classification whose last answers are wrong."""
    predictions = np.where(np.arange(400) < num_right, LABELS, (LABELS + 1) % 4)
    examples = {"id": IDS, "label": LABELS, "prediction": predictions}
    fields = {"headline": ("acc1",), "chance": {"acc1": 0.25}, "examples": examples, **changes}
    return TaskResult(dataset, model, "knn", {"acc1": num_right / 400}, 400, **fields)


def marks(*results: TaskResult) -> list[str]:
    _, rows = standings(contests(results))
    assert len(rows) == 1
    return [cell.mark for cell in rows[0].cells]


def test_the_best_is_marked_and_so_are_those_not_told_apart_from_it() -> None:
    assert marks(result_of("A", 100), result_of("B", 300), result_of("C", 299)) == ["apart", "best", "tied"]


def test_of_equal_models_the_first_is_best_and_the_others_are_not_told_apart() -> None:
    assert marks(result_of("A", 200), result_of("B", 200)) == ["best", "tied"]


def test_the_more_models_the_larger_a_difference_must_be() -> None:
    near = result_of("near", 295)  # five of 400 less than the best: p is about 0.01
    assert marks(result_of("best", 300), near) == ["best", "apart"]
    many = [replace(near, model=f"near {number}") for number in range(8)]
    assert marks(result_of("best", 300), *many) == ["best", *["tied"] * 8]


def test_what_was_not_judged_on_the_same_examples_is_not_compared() -> None:
    stored = replace(result_of("B", 100), examples={})
    others = replace(result_of("C", 100), examples={"id": IDS, "label": LABELS[::-1], "prediction": LABELS})
    nameless = replace(result_of("D", 100), examples={"label": LABELS, "prediction": LABELS})
    assert marks(result_of("A", 300), stored, others, nameless) == ["best", *["unknown"] * 3]
    assert marks(result_of("A", 300, is_partial=True), result_of("B", 100)) == ["best", "unknown"]
    assert marks(result_of("A", 300, template_hash="1"), result_of("B", 100, template_hash="2")) == ["best", "unknown"]


def test_a_model_that_was_not_judged_leaves_its_cell_empty_and_alone_none_is_best() -> None:
    models, rows = standings(contests([result_of("A", 300), result_of("B", 200), result_of("B", 100, "other")]))
    assert models == ("A", "B")
    assert [(row.contest, [cell.value for cell in row.cells]) for row in rows] == [
        (0, ["75.0", "50.0"]),
        (1, ["", "25.0"]),
    ]
    assert [cell.mark for cell in rows[1].cells] == ["", ""]
    assert rows[0].chance == "25.0"


def test_a_metric_without_a_value_is_said_and_not_compared() -> None:
    lacking = replace(result_of("B", 0), metrics={"acc1": None}, reasons={"acc1": "few"})
    _, rows = standings(contests([result_of("A", 300), lacking]))
    assert [(cell.value, cell.mark) for cell in rows[0].cells] == [("75.0", ""), ("n/a", "")]


def test_results_are_put_together_by_data_split_language_and_task() -> None:
    results = [
        result_of("A", 1),
        result_of("A", 1, "other"),
        result_of("B", 1),
        result_of("B", 1, split="train"),
        result_of("B", 1, language="de"),
    ]
    found = contests(results)
    assert [contest.names for contest in found] == [("A", "B"), ("A",), ("B",), ("B",)]


def test_the_same_model_by_the_same_task_twice_is_no_rival_of_itself() -> None:
    found = contests([result_of("A", 1), result_of("B", 1), result_of("A", 2), result_of("B", 2)])
    assert [contest.names for contest in found] == [("A", "B"), ("A", "B")]
    assert [contest.results[0].metrics["acc1"] for contest in found] == [1 / 400, 2 / 400]


def test_models_of_one_name_are_told_apart_by_weights_and_then_by_precision() -> None:
    results = [
        result_of("ViT-B-32", 1, pretrained="openai"),
        result_of("ViT-B-32", 1, pretrained="laion400m", precision="fp32"),
        result_of("ViT-B-32", 1, pretrained="laion400m", precision="bf16"),
        result_of("runs/a", 1, pretrained="runs/a"),
    ]
    assert model_names(results) == [
        "ViT-B-32,openai",
        "ViT-B-32,laion400m, fp32",
        "ViT-B-32,laion400m, bf16",
        "runs/a",
    ]
