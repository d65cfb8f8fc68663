from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mmcl.losses.info_nce import info_nce


def test_two_queries_by_hand() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    keys = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    losses = info_nce(queries, keys, 2.0, torch.eye(2, dtype=torch.bool))
    # Scores are [[2, 1.2], [0, 1.6]].
    expected = [math.log(math.exp(2) + math.exp(1.2)) - 2, math.log(1 + math.exp(1.6)) - 1.6]
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)


def test_with_one_positive_it_is_cross_entropy() -> None:
    torch.manual_seed(0)
    queries, keys = torch.randn(7, 5), torch.randn(9, 5)
    target = torch.randint(0, 9, (7,))
    losses = info_nce(queries, keys, 3.0, F.one_hot(target, 9).bool())
    torch.testing.assert_close(losses, F.cross_entropy(3.0 * queries @ keys.T, target, reduction="none"))


def test_several_positives_follow_l_out_of_supcon() -> None:
    torch.manual_seed(1)
    queries, keys = torch.randn(6, 4), torch.randn(8, 4)
    positives = torch.rand(6, 8) < 0.4
    positives[:, 0] = True
    losses = info_nce(queries, keys, 1.5, positives)
    for i in range(6):
        scores = [1.5 * float(queries[i] @ key) for key in keys]
        denominator = math.log(sum(math.exp(score) for score in scores))
        terms = [denominator - scores[j] for j in range(8) if positives[i, j]]
        assert float(losses[i]) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_query_without_a_positive_counts_as_zero() -> None:
    losses = info_nce(torch.eye(2), torch.eye(2), 1.0, torch.tensor([[True, False], [False, False]]))
    assert losses[1] == 0
    assert losses[0] > 0


def test_a_large_scale_does_not_overflow() -> None:
    losses = info_nce(torch.eye(3), torch.eye(3), 1e4, torch.eye(3, dtype=torch.bool))
    assert torch.equal(losses, torch.zeros(3))


def test_gradient_matches_finite_differences() -> None:
    torch.manual_seed(2)
    queries = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    positives = torch.rand(4, 5) < 0.5
    assert torch.autograd.gradcheck(lambda q, k, s: info_nce(q, k, s, positives), (queries, keys, scale))
