"""Correlation of cosines with gold scores, over all subsets at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from evaluation import TFIDF, BagOfWords, CachedEmbedder, EvaluationError, STSTask
from evaluation.metrics import alignment, uniformity
from tests.evaluation.fakes import AngleEmbedder, CollapsedEmbedder, RebuildableColours

ANGLES = [5, 12, 31, 40, 77, 90, 120, 20]
GOLD = [5.0, 4.6, 4.6, 3.0, 2.2, 0.0, 0.5, 3.1]


def task_of(**fields: Any) -> STSTask:
    given: dict[str, Any] = {
        "first": [f"first {row * 0.1:.1f}" for row in range(len(ANGLES))],
        "second": [f"second {angle}" for angle in ANGLES],
        "scores": GOLD,
        "dataset": "angles",
    }
    return STSTask(**{**given, **fields})


def cosines() -> np.ndarray:
    return np.cos(np.radians(np.array(ANGLES) - 0.1 * np.arange(len(ANGLES))))


def test_correlations_are_those_of_scipy() -> None:
    result = task_of().evaluate(AngleEmbedder())
    assert result.metrics["cosine_spearman"] == pytest.approx(spearmanr(GOLD, cosines()).statistic)
    assert result.metrics["cosine_pearson"] == pytest.approx(pearsonr(GOLD, cosines()).statistic)
    assert result.headline == ("cosine_spearman", "cosine_pearson")
    assert (result.num_examples, result.example_name) == (8, "pairs")
    np.testing.assert_allclose(result.examples["cosine"], cosines(), rtol=1e-5)


def test_alignment_is_of_the_highest_fifth_and_uniformity_of_every_text_once() -> None:
    task = task_of(first=["same 0"] * 8)
    embedder = AngleEmbedder()
    result = task.evaluate(embedder)
    first, second = embedder.encode_texts(task.first), embedder.encode_texts(task.second)
    assert result.protocol["alignment_above"] == 4.0
    assert result.metrics["alignment"] == pytest.approx(alignment(first[:3], second[:3]))
    assert result.metrics["uniformity"] == pytest.approx(uniformity(np.concatenate([first[:1], second])))
    assert result.unit("uniformity") == "number"


def test_subsets_are_ranked_together_and_shown_one_by_one() -> None:
    subsets = ["news", "news", "web", "web", "web", "web", "news", "news"]
    result = task_of(subsets=subsets).evaluate(AngleEmbedder())
    assert result.metrics["cosine_spearman"] == pytest.approx(spearmanr(GOLD, cosines()).statistic)
    for name in ("news", "web"):
        kept = np.array(subsets) == name
        expected = spearmanr(np.array(GOLD)[kept], cosines()[kept]).statistic
        assert result.metrics[f"{name}/cosine_spearman"] == pytest.approx(expected)
    assert result.protocol["aggregation"] == "all"


def test_pairs_without_a_score_are_left_out_and_counted() -> None:
    scores = [None, float("nan"), *GOLD[2:]]
    result = task_of(scores=scores, groups=[9, 9, 1, 1, 2, 2, 3, 3]).evaluate(AngleEmbedder())
    assert result.metrics["cosine_spearman"] == pytest.approx(spearmanr(GOLD[2:], cosines()[2:]).statistic)
    assert result.num_examples == 6
    assert result.intervals["cosine_spearman"].num_units == 3
    assert result.examples["group"].tolist() == [1, 1, 2, 2, 3, 3]
    assert result.notes == ("2 of 8 pairs have no gold score and are left out.",)


class Cutting(AngleEmbedder):
    """Reads the first nine characters of a text."""

    def count_too_long(self, texts: list[str]) -> int:
        return sum(len(text) > 9 for text in texts)


@pytest.mark.parametrize("embedder", [Cutting(), CachedEmbedder(Cutting())])
def test_texts_that_the_model_cuts_are_counted(embedder: Cutting) -> None:
    assert task_of().evaluate(embedder).notes == ("1 of 16 texts are longer than the model reads, and were cut.",)
    assert task_of().evaluate(CachedEmbedder(AngleEmbedder())).notes == ()


def test_the_interval_is_that_of_correlations_of_resampled_pairs() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 180, size=60)
    gold = np.cos(np.radians(angles)) + rng.normal(size=60)
    task = task_of(first=["zero 0"] * 60, second=[f"at {angle:.3f}" for angle in angles], scores=gold)
    interval = task.evaluate(AngleEmbedder()).intervals["cosine_spearman"]
    draws = rng.integers(0, 60, size=(2000, 60))
    found = np.cos(np.radians(angles))
    samples = [spearmanr(gold[draw], found[draw]).statistic for draw in draws]
    assert [interval.low, interval.high] == pytest.approx(np.quantile(samples, [0.025, 0.975]), abs=0.03)
    assert interval.num_units == 60


def test_a_collapsed_model_has_no_correlation_and_says_why() -> None:
    result = task_of().evaluate(CollapsedEmbedder())
    assert result.metrics["cosine_spearman"] is None
    assert result.reasons["cosine_spearman"] == "all gold scores, or all cosines, are equal"
    assert "cosine_spearman" not in result.intervals
    assert result.metrics["uniformity"] == pytest.approx(0, abs=1e-6)
    assert result.metrics["alignment"] == pytest.approx(0, abs=1e-6)


def test_equal_scores_leave_nothing_to_align() -> None:
    result = task_of(scores=[1.0] * 8).evaluate(AngleEmbedder())
    assert result.metrics["alignment"] is None
    assert result.reasons["alignment"] == "all gold scores are equal"


@pytest.mark.parametrize(("name", "kind"), [("bag_of_words", BagOfWords), ("tf_idf", TFIDF)])
def test_baselines_are_judged_by_the_same_protocol(name: str, kind: type[BagOfWords]) -> None:
    first = ["a b c 1", "a b 2", "d e 3", "a 4", "f g 5"]
    second = ["a b c 1", "a c 9", "d f 3", "x y 8", "f 5"]
    fields: dict[str, Any] = {"first": first, "second": second, "scores": [5, 2, 3, 1, 2]}
    result = task_of(**fields, baselines=True).evaluate(AngleEmbedder())
    alone = task_of(**fields).evaluate(kind([*first, *second]))
    for metric in ("cosine_spearman", "cosine_pearson"):
        assert result.metrics[f"{name}/{metric}"] == alone.metrics[metric]
        assert result.intervals[f"{name}/{metric}"] == alone.intervals[metric]
    assert result.headline == alone.headline == ("cosine_spearman", "cosine_pearson")
    assert result.notes[-1].startswith("cosine_spearman without learning: bag_of_words ")


def test_the_untrained_encoder_is_judged_by_the_same_protocol() -> None:
    first, second = ["red", "green", "blue red", "cyan"], ["red", "blue", "blue", "green"]
    fields: dict[str, Any] = {"first": first, "second": second, "scores": [5, 1, 3, 2]}
    result = task_of(**fields, baselines=True).evaluate(RebuildableColours())
    alone = task_of(**fields).evaluate(RebuildableColours(seed=0))
    for metric in ("cosine_spearman", "cosine_pearson"):
        assert result.metrics[f"untrained/{metric}"] == alone.metrics[metric]
        assert result.intervals[f"untrained/{metric}"] == alone.intervals[metric]
    assert ", untrained " in result.notes[-1]


def test_wide_baselines_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = task_of(baselines=True).evaluate(AngleEmbedder())
    monkeypatch.setattr("evaluation.tasks.sts._PAIRS_AT_A_TIME", 3)
    assert task_of(baselines=True).evaluate(AngleEmbedder()).metrics == whole.metrics


def test_the_report_is_given_the_pairs_most_misjudged() -> None:
    pairs = task_of().evaluate(AngleEmbedder()).exhibits.text_pairs
    assert pairs
    assert {pair.score for pair in pairs} <= set(GOLD)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scores": GOLD[:5]}, "angles: scores must be as many as first, 8, got 5"),
        ({"groups": [1, 2]}, "groups must be as many as first, 8, got 2"),
        ({"subsets": ["a"]}, "subsets must be as many as first, 8, got 1"),
        ({"scores": [None] * 8}, "sts needs scores, and none of 8 pairs has one"),
        ({"scores": [np.inf, *GOLD[1:]]}, "scores must be finite or missing, got infinity"),
        ({"second": [" ", *"bcdefgh"]}, "every text must be a text, got ' ' for text 8"),
        ({"first": [], "second": [], "scores": []}, "sts needs pairs, got none"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        task_of(**fields)
