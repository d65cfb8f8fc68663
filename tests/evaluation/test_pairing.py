"""A metric as it can be resampled, and results that are not of the same examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluation import (
    FewLabelTask,
    MultiLabelZeroShotTask,
    PairClassificationTask,
    RetrievalTask,
    STSTask,
    TaskResult,
    TextRetrievalTask,
)
from evaluation.pairing import mismatches, resampled
from tests.evaluation.fakes import AngleEmbedder, ColourEmbedder, picture
from tests.evaluation.tasks.labelled import labelled_rows

TEXTS = [f"text {angle}" for angle in (3, 50, 81, 120, 166, 20, 77)]


def results() -> dict[str, TaskResult]:
    pictures = [picture(name) for name in ("red", "green", "blue", "white")]
    captions = [["red", "green"], ["green", "not red"], ["blue"], ["cyan"]]
    angles = AngleEmbedder()
    others = [f"other {20 * number}" for number in range(7)]
    pairs = {"first": TEXTS, "second": others, "dataset": "pairs", "resamples": 20}
    documents = {f"d{number}": text for number, text in enumerate(others)}
    queries = {f"q{number}": text for number, text in enumerate(TEXTS)}
    return {
        "retrieval": RetrievalTask.from_captions(pictures, captions, dataset="x", resamples=20).evaluate(
            ColourEmbedder()
        ),
        "sts": STSTask(**pairs, scores=[1, 2, 3, 5, 4, 2.5, 0]).evaluate(angles),
        "pairs": PairClassificationTask(**pairs, labels=[1, 0, 1, 0, 0, 1, 0]).evaluate(angles),
        "queries": TextRetrievalTask(
            queries=queries,
            corpus=documents,
            relevance={name: {"d3": 1.0, f"d{row % 3}": 2.0} for row, name in enumerate(queries)},
            dataset="y",
            resamples=20,
        ).evaluate(angles),
        "few": FewLabelTask(**labelled_rows(), num_seeds=3).evaluate(ColourEmbedder()),
        "several": MultiLabelZeroShotTask(
            images=pictures,
            labels=[["red"], ["green", "blue"], ["blue"], ["white", "red"]],
            dataset="z",
            resamples=20,
        ).evaluate(ColourEmbedder()),
    }


METRICS = [
    ("retrieval", "image_retrieval_recall@1"),
    ("retrieval", "text_retrieval_recall@1"),
    ("sts", "cosine_spearman"),
    ("pairs", "cosine_ap"),
    ("queries", "ndcg_at_10"),
    ("few", "acc1@5_labels"),
    ("several", "mean_average_precision"),
]


@pytest.mark.parametrize(("name", "metric"), METRICS)
def test_of_every_example_once_it_is_the_metric_itself(name: str, metric: str) -> None:
    result = results()[name]
    found = resampled(result, metric)
    assert found is not None
    assert found.statistic(np.ones((1, len(found.ids)))).shape == (1, 1)
    assert found.statistic(np.ones((1, len(found.ids))))[0, 0] == pytest.approx(result.metrics[metric])
    assert len(set(found.ids.tolist())) == len(found.ids)


@pytest.mark.parametrize(("name", "metric"), METRICS)
def test_in_another_order_each_example_keeps_its_multiplicity(name: str, metric: str) -> None:
    found = resampled(results()[name], metric)
    assert found is not None
    order = np.random.default_rng(0).permutation(len(found.ids))
    weights = np.random.default_rng(1).integers(1, 5, (3, len(order))).astype(float)
    turned = found.in_order_of(found.ids[order])
    np.testing.assert_allclose(turned.statistic(weights[:, order]), found.statistic(weights))
    assert turned.ids.tolist() == found.ids[order].tolist()
    if found.groups is not None:
        assert turned.groups is not None
        assert turned.groups.tolist() == found.groups[order].tolist()


def test_what_is_not_kept_cannot_be_resampled() -> None:
    assert resampled(results()["retrieval"], "image_retrieval_recall@1_strict") is None
    assert resampled(results()["sts"], "uniformity") is None


def test_results_of_the_same_rows_match_and_of_others_do_not() -> None:
    for name, result in results().items():
        assert mismatches(result, result) == [], name
        key = next(key for key in ("id", "image_id") if key in result.examples)
        others = np.char.add("x", result.examples[key])
        assert mismatches(result, replace(result, examples={**result.examples, key: others})) != [], name


def test_other_scores_or_groups_of_the_same_rows_are_told() -> None:
    sts, retrieval = results()["sts"], results()["retrieval"]
    turned = replace(sts, examples={**sts.examples, "score": sts.examples["score"][::-1]})
    assert mismatches(sts, turned) == ["other scores of the same examples"]
    grouped = replace(retrieval, examples={**retrieval.examples, "text_group": retrieval.examples["text_group"] * 0})
    assert mismatches(retrieval, grouped) == ["other text_groups of the same examples"]
