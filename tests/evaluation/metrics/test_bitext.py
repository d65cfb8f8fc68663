"""Nearest translations by hand, their F1 against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from evaluation import EvaluationError
from evaluation.metrics import nearest_translations, weighted_f1


def test_the_nearest_candidate_is_found_in_strips_of_any_size() -> None:
    rng = np.random.default_rng(0)
    sentences, candidates = rng.normal(size=(2, 40, 5))
    own = rng.permutation(40)
    scores = sentences @ candidates.T
    for max_elements in (2**20, 90):
        outcome = nearest_translations(sentences, candidates, own, max_elements=max_elements)
        assert outcome.found.tolist() == scores.argmax(axis=1).tolist()
        above = scores > scores[np.arange(40), own][:, None]
        assert outcome.ranks.tolist() == (1 + above.sum(axis=1)).tolist()
        assert not outcome.tied.any()


def test_a_tie_goes_to_the_wrong_one_and_is_counted() -> None:
    candidates = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    outcome = nearest_translations(np.array([[1.0, 0.0], [0.0, 1.0]]), candidates, np.array([0, 2]))
    assert outcome.found.tolist() == [1, 2]
    assert outcome.ranks.tolist() == [2, 1]
    assert outcome.tied.tolist() == [True, False]
    with pytest.raises(EvaluationError, match="two candidates or more"):
        nearest_translations(candidates, candidates[:1], np.zeros(3, dtype=np.int64))


@pytest.mark.parametrize("seed", range(10))
def test_f1_is_that_of_scikit_learn_also_of_resamples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = np.r_[np.arange(12), rng.integers(0, 12, size=8)]
    found = np.where(rng.random(20) < 0.6, own, rng.integers(0, 12, size=20))
    weights = rng.integers(0, 3, size=(5, 20)).astype(float)
    assert weighted_f1(own, found, 12)[0] == pytest.approx(f1_score(own, found, average="weighted", zero_division=0))
    for row, value in zip(weights, weighted_f1(own, found, 12, weights), strict=True):
        times = row.astype(int)
        expected = f1_score(own.repeat(times), found.repeat(times), average="weighted", zero_division=0)
        assert value == pytest.approx(expected)
