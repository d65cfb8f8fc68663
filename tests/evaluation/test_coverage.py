"""How often our 95% intervals hold the truth, on simulated models whose true score is known.

Thousands of models are judged at once: each is a column of outcomes, and resamples draw rows. Of 2,000 models the share
covered has a standard deviation of half a point, so that 93 to 97% is a sharp demand.
"""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import paired_bootstrap
from evaluation.statistics import bootstrap, bootstrap_intervals, mean_of, percentile_intervals
from evaluation.tasks.accuracy import accuracies, accuracy_intervals

NUM_MODELS = 2000


def covered(outcomes: np.ndarray, truth: float | np.ndarray, groups: np.ndarray | None = None) -> float:
    """Share of models, the columns of ``(N, S)`` outcomes, whose interval holds the truth."""
    found = bootstrap_intervals(mean_of(outcomes), len(outcomes), groups, resamples=1000)
    assert found is not None
    low, high = np.array([(one.low, one.high) for one in found]).T
    return float(((low <= truth) & (truth <= high)).mean())


def grouped_outcomes(num_groups: int, size: int, truth: float, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers whose chance differs between groups: beta, of the given correlation within a group."""
    rng = np.random.default_rng(0)
    concentration = 1 / correlation - 1
    of_group = rng.beta(truth * concentration, (1 - truth) * concentration, size=(num_groups, NUM_MODELS))
    groups = np.repeat(np.arange(num_groups), size)
    return (rng.random((len(groups), NUM_MODELS)) < of_group[groups]).astype(float), groups


@pytest.mark.parametrize("centre", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("num_examples", [200, 1000])
def test_intervals_of_an_accuracy_hold_the_truth(num_examples: int, centre: float) -> None:
    """Every model has an accuracy of its own: a share of 200 is one of 201 numbers, which one alone may lie well to."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(centre - 0.02, centre + 0.02, size=NUM_MODELS)
    outcomes = rng.random((num_examples, NUM_MODELS)) < truth
    assert 0.93 <= covered(outcomes.astype(float), truth) <= 0.97


@pytest.mark.parametrize(("num_groups", "size"), [(40, 5), (100, 5), (50, 20)])
@pytest.mark.parametrize("truth", [0.6, 0.9])
def test_intervals_of_grouped_examples_hold_the_truth(num_groups: int, size: int, truth: float) -> None:
    outcomes, groups = grouped_outcomes(num_groups, size, truth, correlation=0.3)
    assert 0.93 <= covered(outcomes, truth, groups) <= 0.97


def test_single_draws_from_groups_would_hold_it_far_less_often() -> None:
    outcomes, _ = grouped_outcomes(50, 20, 0.6, correlation=0.3)
    assert covered(outcomes, 0.6) < 0.7


def test_plain_percentiles_would_not_do() -> None:
    """What `evaluation.bca` is there for: 40 groups of five, nine answers in ten right."""
    outcomes, groups = grouped_outcomes(40, 5, 0.9, correlation=0.3)
    samples = bootstrap(mean_of(outcomes), len(outcomes), groups, resamples=1000)
    assert np.mean([one.low <= 0.9 <= one.high for one in percentile_intervals(samples, 40)]) < 0.93


def test_intervals_of_a_skewed_mean_hold_the_truth() -> None:
    """Reciprocal ranks: most are 1, some small."""
    rng = np.random.default_rng(1)
    outcomes = np.where(rng.random((200, NUM_MODELS)) < 0.8, 1.0, 1 / rng.integers(2, 100, size=(200, NUM_MODELS)))
    truth = 0.8 + 0.2 * (1 / np.arange(2, 100)).mean()
    assert 0.93 <= covered(outcomes, truth) <= 0.97


def test_intervals_of_every_accuracy_metric_hold_the_truth() -> None:
    """A model that names the right one of four classes with a chance of its own for each, else any other."""
    rng, chances = np.random.default_rng(2), np.array([0.9, 0.7, 0.8, 0.6])
    labels = np.repeat(np.arange(4), [120, 60, 40, 80])

    def answers(repeats: int) -> tuple[np.ndarray, np.ndarray, int]:
        truth = np.tile(labels, repeats)
        others = (truth + rng.integers(1, 4, size=len(truth))) % 4
        return truth, np.where(rng.random(len(truth)) < chances[truth], truth, others), 4

    found = [accuracy_intervals(*answers(1), None, resamples=400, seed=seed) for seed in range(400)]
    for name, truth in accuracies(*answers(5000)).items():
        assert 0.92 <= np.mean([one[name].low <= truth <= one[name].high for one in found]) <= 0.98, name


@pytest.mark.parametrize("num_groups", [100, 200])
def test_paired_intervals_hold_the_true_difference(num_groups: int) -> None:
    """Two models that are right and wrong together most of the time, 0.8 and 0.75, five examples a group."""
    rng = np.random.default_rng(3)
    groups, hits = np.repeat(np.arange(num_groups), 5), []
    for seed in range(800):
        hardness = np.clip(rng.normal(0, 0.1, size=num_groups), -0.2, 0.2)[groups]
        draw = rng.random(len(groups))  # one draw for both: pairs that are alike
        first, second = draw < 0.8 + hardness, draw < 0.75 + hardness
        found = paired_bootstrap(first.astype(float), second.astype(float), groups, resamples=400, seed=seed)
        hits.append(found.interval.low <= 0.05 <= found.interval.high)
    assert 0.93 <= np.mean(hits) <= 0.97
