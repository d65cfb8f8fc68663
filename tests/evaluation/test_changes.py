from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from evaluation import EvaluationError, TaskResult, compare_results, format_changes, paired_bootstrap
from evaluation.changes import half_of, outcomes


def retrieval(ranks: list[int], **fields: Any) -> TaskResult:
    """Texts that look for pictures; two texts belong to each of the groups."""
    found = np.array(ranks)
    groups = np.arange(len(ranks)) // 2
    return TaskResult(
        **{
            "dataset": "products",
            "model": "m",
            "task": "retrieval",
            "metrics": {"image_retrieval_recall@1": float((found <= 1).mean())},
            "num_examples": len(ranks),
            "examples": {"image_retrieval_rank": found, "text_group": groups, "image_group": groups[::-1]},
            **fields,
        }
    )


def classification(labels: list[int], predictions: list[int], **examples: Any) -> TaskResult:
    right = np.array(labels) == np.array(predictions)
    return TaskResult(
        dataset="digits",
        model="m",
        task="knn",
        metrics={"acc1": float(right.mean()), "other": 0.5},
        num_examples=len(labels),
        examples={"label": np.array(labels), "prediction": np.array(predictions), **examples},
    )


def test_a_change_is_paired_over_the_groups_of_its_queries() -> None:
    before, after = retrieval([1, 2, 3, 4, 5, 1]), retrieval([1, 1, 1, 4, 1, 2])
    (change,) = compare_results([before], [after])
    assert (change.before, change.after) == (pytest.approx(2 / 6), pytest.approx(4 / 6))
    hits = [np.array([1, 0, 0, 0, 0, 1.0]), np.array([1, 1, 1, 0, 1, 0.0])]
    assert change.comparison == paired_bootstrap(hits[1], hits[0], np.array([0, 0, 1, 1, 2, 2]))
    assert change.comparison.interval.num_units == 3


def test_both_directions_of_retrieval_have_the_queries_own_groups() -> None:
    result = retrieval([1, 2, 3, 4], examples={
        "image_retrieval_rank": np.array([1, 9]),
        "text_retrieval_rank": np.array([1, 1, 7]),
        "text_group": np.array([5, 6]),
        "image_group": np.array([5, 6, 6]),
    })  # fmt: skip
    of_texts, of_pictures = outcomes(result, "image_retrieval_recall@5"), outcomes(result, "text_retrieval_recall@5")
    assert of_texts is not None
    assert of_pictures is not None
    assert (of_texts[0].tolist(), of_texts[1].tolist()) == ([1, 0], [5, 6])  # type: ignore[union-attr]
    assert (of_pictures[0].tolist(), of_pictures[1].tolist()) == ([1, 1, 0], [5, 6, 6])  # type: ignore[union-attr]


def test_accuracy_is_that_of_the_predictions_or_of_ranks() -> None:
    found = outcomes(classification([0, 1, 2], [0, 2, 2]), "acc1")
    assert found is not None
    assert (found[0].tolist(), found[1]) == ([1, 0, 1], None)
    ranked = outcomes(classification([0, 1], [0, 0], rank=np.array([1, 4]), group=np.array([7, 8])), "acc5")
    assert ranked is not None
    assert ranked[0].tolist() == [1, 1]
    assert outcomes(classification([0, 1], [0, 0]), "mean_per_class_recall") is None


def test_without_outcomes_of_examples_there_is_no_interval() -> None:
    bare = retrieval([1, 2], examples={})
    (change,) = compare_results([bare], [bare], is_guard=True)
    assert change.comparison is None
    assert change.is_guard
    one_group = retrieval([1, 2])
    assert compare_results([one_group], [one_group])[0].comparison is None


def test_a_task_without_a_main_metric_is_seen_by_its_first_headline() -> None:
    fields = {"metrics": {"ties": 3.0, "map": 0.25, "other": 0.1}, "headline": ("ties", "map", "other")}
    result = retrieval([1, 2], **fields, units={"ties": "count"})
    assert [change.metric for change in compare_results([result], [result])] == ["map"]


def test_other_tasks_and_other_examples_are_refused() -> None:
    with pytest.raises(EvaluationError, match="results must be of the same tasks"):
        compare_results([retrieval([1, 2])], [classification([0, 1], [0, 1])])
    with pytest.raises(EvaluationError, match="judged on 4 examples before and 6 after"):
        compare_results([retrieval([1, 2, 3, 4])], [retrieval([1, 2, 3, 4, 5, 6])])


def test_the_table_says_which_are_guards() -> None:
    found = [
        *compare_results([retrieval([1, 2, 3, 4])], [retrieval([1, 1, 1, 1])]),
        *compare_results([classification([0, 1], [0, 1])], [classification([0, 1], [0, 0])], is_guard=True),
    ]
    head, first, second = format_changes(found).splitlines()
    assert head.split() == ["before", "after", "difference", "95%", "interval"]
    assert first.split()[:5] == ["products", "image_retrieval_recall@1", "25.0", "100.0", "+75.0"]
    assert second.startswith("guard digits acc1")
    assert second.split()[3:6] == ["100.0", "50.0", "-50.0"]


def test_the_two_halves_are_all_and_hold_whole_groups() -> None:
    ranks = np.random.default_rng(3).integers(1, 3, 60).tolist()
    before, after = retrieval(ranks[::-1]), retrieval(ranks)
    (first,), (second,) = (compare_results([before], [after], half=half) for half in (0, 1))
    (whole,) = compare_results([before], [after])
    assert first.after != second.after
    assert (first.after + second.after) / 2 == pytest.approx(whole.after)
    assert first.comparison is not None
    assert first.comparison.interval.num_units == 15


def test_of_a_half_that_cannot_be_told_nothing_is_said() -> None:
    bare = retrieval([1, 2], examples={})
    assert compare_results([bare], [bare], half=0) == []


def test_values_alone_are_the_same_without_resampling() -> None:
    before, after = retrieval([1, 2, 3, 4, 5, 1]), retrieval([1, 1, 1, 4, 1, 2])
    (whole,), (bare,) = (compare_results([before], [after], half=1, intervals=one) for one in (True, False))
    assert whole.comparison is not None
    assert bare == replace(whole, comparison=None)


def graded(
    task: str, metric: str, gold_name: str, gold: np.ndarray, cosines: np.ndarray, **examples: Any
) -> TaskResult:
    return TaskResult(
        dataset="pairs",
        model="m",
        task=task,
        metrics={metric: 0.5},
        headline=(metric,),
        num_examples=len(gold),
        examples={gold_name: gold, "cosine": cosines, **examples},
    )


@pytest.mark.parametrize(
    ("task", "metric", "gold_name"), [("sts", "cosine_spearman", "score"), ("pairs", "cosine_ap", "label")]
)
def test_metrics_of_whole_lists_are_compared_pair_by_pair_and_told_of_halves(
    task: str, metric: str, gold_name: str
) -> None:
    rng = np.random.default_rng(0)
    gold, groups = rng.integers(0, 2, size=60), np.arange(60) // 2
    bad, good = (gold + noise * rng.normal(size=60) for noise in (3, 0.5))
    before, after = (graded(task, metric, gold_name, gold, found, group=groups) for found in (bad, good))

    def value(found: np.ndarray, kept: np.ndarray) -> float:
        if metric == "cosine_ap":
            return float(average_precision_score(gold[kept], found[kept]))
        return float(spearmanr(gold[kept], found[kept]).statistic)

    everything = np.ones(60, dtype=bool)
    (change,) = compare_results([before], [after])
    assert change.comparison is not None
    assert change.comparison.difference == pytest.approx(value(good, everything) - value(bad, everything))
    assert change.comparison.interval.num_units == 30
    assert change.comparison.interval.low > 0
    halves = [half_of(60, groups, half) for half in (0, 1)]
    for half, kept in enumerate(halves):
        (told,) = compare_results([before], [after], half=half)  # type: ignore[arg-type]
        assert (told.before, told.after) == pytest.approx((value(bad, kept), value(good, kept)))
        assert told.comparison is not None
        assert told.comparison.difference == pytest.approx(told.after - told.before)
        assert told.comparison.interval.num_units == 15
    shorter = graded(task, metric, gold_name, gold[:9], good[:9])
    with pytest.raises(EvaluationError, match="judged on 60 examples before and 9 after"):
        compare_results([before], [shorter])


def test_outcomes_under_the_name_of_a_metric_are_what_it_is_the_mean_of() -> None:
    values = np.array([1.0, 0.5, 0.0, 0.25])
    result = graded("text_retrieval", "ndcg_at_10", "ndcg_at_10", values, values)
    found = outcomes(result, "ndcg_at_10")
    assert found is not None
    assert (found[0].tolist(), found[1]) == (values.tolist(), None)
