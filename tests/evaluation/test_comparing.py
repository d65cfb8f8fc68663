"""Models compared by the results of the same tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evaluation import (
    EvaluationError,
    Interval,
    TaskResult,
    compare,
    compare_over_seeds,
    paired_bootstrap,
    spread_over_seeds,
)
from evaluation.comparison import Comparison, MetricComparison
from tests.evaluation.compared import answered, judged


def hits(result: TaskResult) -> np.ndarray:
    return (result.examples["prediction"] == result.examples["label"]).astype(float)


def only(comparison: Comparison) -> MetricComparison:
    (one,) = comparison.by_dataset
    return one


def in_another_order(result: TaskResult, seed: int = 0) -> TaskResult:
    order = np.random.default_rng(seed).permutation(result.num_examples)
    return replace(result, examples={name: values[order] for name, values in result.examples.items()})


def test_a_pair_is_compared_as_the_paired_bootstrap_compares_it() -> None:
    first, second = judged("a", 0.8), judged("b", 0.6, seed=1)
    one = only(compare({"b": [second], "a": [first]}, resamples=4000))
    expected = paired_bootstrap(hits(first), hits(second), resamples=4000)
    (pair,) = one.pairs
    assert (pair.first, pair.second, pair.is_told_apart, pair.is_tie) == ("a", "b", True, False)
    assert pair.comparison.difference == pytest.approx(expected.difference)
    assert pair.comparison.interval.low == pytest.approx(expected.interval.low, abs=0.01)
    assert pair.comparison.interval.high == pytest.approx(expected.interval.high, abs=0.01)
    assert pair.adjusted_p == pair.comparison.p_value < 0.01
    assert [score.model for score in one.scores] == ["a", "b"]
    interval = one.scores[0].interval
    assert interval is not None
    assert interval.low < one.scores[0].value < interval.high


def test_p_values_are_corrected_for_all_pairs_of_a_data_set() -> None:
    results = {name: [judged(name, accuracy, seed=seed)] for seed, (name, accuracy) in enumerate(
        {"a": 0.9, "b": 0.62, "c": 0.6, "d": 0.6}.items()
    )}  # fmt: skip
    pairs = only(compare(results)).pairs
    assert len(pairs) == 6
    assert all(pair.adjusted_p >= pair.comparison.p_value for pair in pairs)
    told_apart = {frozenset((pair.first, pair.second)) for pair in pairs if pair.is_told_apart}
    assert told_apart == {frozenset("ab"), frozenset("ac"), frozenset("ad")}
    # The smallest of six, times six.
    assert min(pair.adjusted_p for pair in pairs) == pytest.approx(6 * min(pair.comparison.p_value for pair in pairs))


def test_equal_answers_are_a_tie() -> None:
    result = judged("a", 0.7)
    (pair,) = only(compare({"a": [result], "b": [replace(result, model="b")]})).pairs
    assert pair.is_tie
    assert not pair.is_told_apart
    assert pair.adjusted_p == 1


def test_many_pairs_are_drawn_often_enough_to_be_told_apart() -> None:
    results = {f"m{number}": [judged("m", number / 12, seed=number)] for number in range(12)}
    assert sum(pair.is_told_apart for pair in only(compare(results)).pairs) > 40


def test_equal_examples_in_another_order_are_aligned_by_id() -> None:
    first, second = judged("a", 0.8), judged("b", 0.6, seed=1)
    expected = only(compare({"a": [first], "b": [second]}))
    found = only(compare({"a": [first], "b": [in_another_order(second)]}))
    assert found.pairs[0].comparison == expected.pairs[0].comparison
    # Drawn apart, the same answers would not be found to be the same.
    (pair,) = only(compare({"a": [first], "b": [in_another_order(first)]})).pairs
    assert pair.comparison.interval.low == pair.comparison.interval.high == 0


def test_groups_are_drawn_together() -> None:
    labels, groups = np.zeros(200, dtype=int), np.repeat(np.arange(10), 20)
    rng = np.random.default_rng(0)
    answers = [np.repeat(rng.random(10) < 0.5, 20).astype(int) for _ in range(2)]
    results = [answered("x", labels, given) for given in answers]
    grouped = [replace(result, examples={**result.examples, "group": groups}) for result in results]
    width = {}
    for name, pair in (("alone", results), ("grouped", grouped)):
        interval = only(compare({"a": [pair[0]], "b": [pair[1]]})).pairs[0].comparison.interval
        width[name] = interval.high - interval.low
    assert width["grouped"] > 3 * width["alone"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_examples": 150}, "150 pictures, not 200"),
        ({"template_hash": "other"}, "other prompts"),
        ({"precision": "bf16"}, "precision bf16, not fp32"),
        ({"protocol": {"k": 10}}, "protocol: k 10, not 20"),
        ({"is_partial": True}, "c was judged on the first rows only"),
    ],
)
def test_what_was_judged_otherwise_is_left_out_and_named(fields: dict[str, Any], message: str) -> None:
    same = {"template_hash": "h", "precision": "fp32", "protocol": {"k": 20, "chosen": {"c": 1}}}
    results = {
        "a": [judged("a", 0.8, **same)],
        "b": [judged("b", 0.6, seed=1, **{**same, "protocol": {"k": 20, "chosen": {"c": 2}}})],
        "c": [judged("c", 0.6, seed=2, **{**same, **fields})],
    }
    comparison = compare(results)
    assert [score.model for score in only(comparison).scores] == ["a", "b"]
    (said,) = comparison.left_out
    assert said.startswith("photos knn: c ")
    assert message in said
    with pytest.raises(EvaluationError, match=r"no two of a, c can be compared:\n  photos knn: c"):
        compare({"a": results["a"], "c": results["c"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": np.array([f"x{row}" for row in range(200)])}, r'200 of 200 ids are not among the 200, such as "x0"'),
        ({"id": np.arange(200, 400).astype(str)}, '200 of 200 ids are not among the 200, such as "200"'),
        ({"label": np.zeros(200, dtype=int)}, "other labels of the same examples"),
        ({"group": np.arange(200)}, "groups in one of the two alone"),
    ],
)
def test_other_examples_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    other = judged("b", 0.6)
    other = replace(other, examples={**other.examples, **change})
    with pytest.raises(EvaluationError, match=message):
        compare({"a": [judged("a", 0.8)], "b": [other]})


def test_labels_are_the_same_by_their_names_whatever_their_numbers() -> None:
    first, second = judged("a", 0.8), judged("b", 0.6, seed=1)
    turned = {name: 4 - second.examples[name] for name in ("label", "prediction")}
    renumbered = replace(second, class_names=second.class_names[::-1], examples={**second.examples, **turned})
    assert compare({"a": [first], "b": [renumbered]}) == compare({"a": [first], "b": [second]})


def test_a_precision_that_is_not_told_is_no_mismatch() -> None:
    assert only(compare({"a": [judged("a", 0.8, precision="fp32")], "b": [judged("b", 0.6)]})).pairs


def test_baselines_beside_a_model_make_no_other_protocol() -> None:
    metrics = {"acc1": 0.8, "raw_pixels/acc1": 0.3}
    beside = judged("a", 0.8, metrics=metrics, protocol={"k": 20, "raw_pixels": {"side": 16}})
    assert only(compare({"a": [beside], "b": [judged("b", 0.6, protocol={"k": 20})]})).pairs


def test_where_only_some_tasks_match_those_are_compared() -> None:
    results = {
        "a": [judged("a", 0.8), judged("a", 0.8, dataset="digits")],
        "b": [judged("b", 0.6, seed=1), judged("b", 0.6, seed=1, dataset="digits", precision="bf16")],
    }
    results["a"][1] = replace(results["a"][1], precision="fp32")
    comparison = compare(results)
    assert [len(one.pairs) for one in comparison.by_dataset] == [1, 0]
    assert comparison.left_out[0].startswith("digits knn: b is not comparable with a: precision bf16")


def test_without_outcomes_values_are_shown_and_not_compared() -> None:
    bare = replace(judged("b", 0.6), examples={})
    comparison = compare({"a": [judged("a", 0.8)], "b": [bare]})
    assert [score.model for score in only(comparison).scores] == ["a", "b"]
    assert only(comparison).pairs == ()
    assert comparison.left_out == ("photos knn: acc1 of b is shown but not compared: no outcomes of examples",)


def test_the_mean_over_data_sets_is_of_models_judged_on_all_and_each_counts_equally() -> None:
    sizes = {"photos": 50, "digits": 400}
    results = {
        model: [
            judged(model, accuracy, seed=seed + size, num_examples=size, dataset=name) for name, size in sizes.items()
        ]
        for seed, (model, accuracy) in enumerate({"a": 0.8, "b": 0.5, "c": 0.5}.items())
    }
    results["c"].pop()
    comparison = compare(results)
    (mean,) = comparison.means
    values = [result.metrics["acc1"] for result in results["a"]]
    assert (mean.datasets, mean.name, mean.num_examples) == (("photos", "digits"), "mean over 2", 450)
    assert [score.model for score in mean.scores] == ["a", "b"]
    assert mean.scores[0].value == pytest.approx(np.mean(values))
    assert "mean of knn acc1: c was judged on 1 of 2 data sets" in comparison.left_out
    interval = mean.scores[0].interval
    assert interval is not None
    error = np.sqrt(sum(v * (1 - v) / size for v, size in zip(values, sizes.values(), strict=True))) / 2
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_what_one_model_alone_was_judged_on_is_in_no_mean_of_several() -> None:
    def of(model: str, *datasets: str) -> list[TaskResult]:
        return [judged(model, 0.6, seed=ord(model), dataset=name) for name in datasets]

    (mean,) = compare({"a": of("a", "photos", "digits", "emoji"), "b": of("b", "photos", "digits")}).means
    assert (mean.datasets, len(mean.pairs)) == (("photos", "digits"), 1)
    (alone,) = compare({"a": of("a", "photos", "digits", "emoji")}).means
    assert alone.name == "mean over 3"


def test_data_sets_of_one_size_are_drawn_independently() -> None:
    both = [judged("a", 0.6, dataset=name) for name in ("photos", "digits")]
    comparison = compare({"a": both})
    (mean,), one = comparison.means, comparison.by_dataset[0]
    width = [found.high - found.low for score in (mean, one) if (found := score.scores[0].interval)]
    assert width[0] == pytest.approx(width[1] / np.sqrt(2), rel=0.1)


def test_a_data_set_is_drawn_alike_whatever_else_is_compared() -> None:
    def both(*names: str) -> dict[str, list[TaskResult]]:
        return {
            model: [judged(model, 0.6, seed=seed, dataset=name) for name in names] for seed, model in enumerate("ab")
        }

    alone, among = compare(both("digits")), compare(both("photos", "digits"))
    assert alone.by_dataset[0] == among.by_dataset[1]


def test_several_runs_are_compared_over_their_seeds() -> None:
    results = {
        "a": [judged("a", 0.8, seed=seed) for seed in range(3)],
        "b": [judged("b", 0.6, seed=seed) for seed in range(3, 6)],
        "c": [judged("c", 0.7, seed=9)],
    }
    one = only(compare(results))
    values = {model: [result.metrics["acc1"] or 0 for result in several] for model, several in results.items()}
    spread = spread_over_seeds(values["a"])
    assert (one.scores[0].value, one.scores[0].std, one.scores[0].num_runs) == (spread.mean, spread.std, 3)
    assert one.scores[0].interval == spread.interval
    pair = one.pair("b", "a")
    assert pair is not None
    assert pair.comparison == compare_over_seeds(values["a"], values["b"])
    # A model of one run has no spread: example by example, beside the mean of the other's runs.
    alone = one.pair("a", "c")
    assert alone is not None
    expected = paired_bootstrap(np.mean([hits(result) for result in results["a"]], axis=0), hits(results["c"][0]))
    assert alone.comparison.difference == pytest.approx(expected.difference)
    assert alone.comparison.interval.low == pytest.approx(expected.interval.low, abs=0.01)


def test_any_metric_that_can_be_resampled_can_be_asked_for() -> None:
    results = {model: [judged(model, accuracy, seed=seed, metrics={"mean_per_class_recall": accuracy})]
               for seed, (model, accuracy) in enumerate({"a": 0.9, "b": 0.5}.items())}  # fmt: skip
    (pair,) = only(compare(results, metrics=["mean_per_class_recall"])).pairs
    assert pair.is_told_apart
    with pytest.raises(EvaluationError, match=r'no result has a metric "acc" \(known: mean_per_class_recall\)'):
        compare(results, metrics=["acc"])
    with pytest.raises(
        EvaluationError, match='only fractions are compared, of which more is better; "ties" is a count'
    ):
        compare({"a": [judged("a", 0.5)]}, metrics=["ties"])


def test_a_metric_that_does_not_exist_is_named_with_its_reason() -> None:
    none = judged("b", 0.6, metrics={"acc1": None}, reasons={"acc1": "no pictures"})
    comparison = compare({"a": [judged("a", 0.8)], "c": [judged("c", 0.6, seed=1)], "b": [none]})
    assert comparison.left_out == ("photos knn: acc1 of b does not exist: no pictures",)


def test_a_task_without_a_fraction_is_named() -> None:
    results = {model: [judged(model, 0.8), judged(model, 0.8, task="health", metrics={"ties": 1.0})] for model in "ab"}
    assert compare(results).left_out == (
        "photos health: no fraction among its headline metrics, of which more would be better",
    )


def test_the_interval_is_the_one_that_every_table_has() -> None:
    stored = Interval(0.71, 0.86, 0.95, 200)
    results = {"a": [judged("a", 0.8, intervals={"acc1": stored})], "b": [judged("b", 0.6, seed=1)]}
    assert only(compare(results)).scores[0].interval == stored
    narrower = only(compare(results, confidence=0.8)).scores[0].interval
    assert narrower is not None
    assert narrower.high - narrower.low < 0.1


def test_an_interval_that_leaves_out_its_own_number_is_not_shown() -> None:
    results = {"a": [judged("a", 0.8, intervals={"acc1": Interval(0.82, 0.86, 0.95, 200)})], "b": [judged("b", 0.6)]}
    assert only(compare(results)).scores[0].interval is None
    assert only(compare(results)).scores[1].interval is not None


def test_one_model_alone_is_shown() -> None:
    comparison = compare({"a": [judged("a", 0.8)]})
    assert len(only(comparison).scores) == 1
    assert comparison.left_out == ()


def test_no_results_are_refused() -> None:
    with pytest.raises(EvaluationError, match="there is nothing to compare: no results"):
        compare({"a": []})
