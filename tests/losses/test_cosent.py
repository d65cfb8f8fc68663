from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.cosent import cosent_loss, num_below
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    unit,
)

SCORES = torch.tensor([3.8, 0.0, 5.0, 3.8, 1.2, 5.0, -2.0, 0.5])


def pairs(n: int = 8, d: int = 5) -> tuple[Tensor, Tensor]:
    return unit(n, d, seed=0), unit(n, d, seed=1)


def by_definition(first: Tensor, second: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Pair of rows by pair of rows."""
    cosines = [a @ b for a, b in zip(first, second, strict=True)]
    total = torch.ones((), dtype=first.dtype)
    for cosine, score in zip(cosines, scores.tolist(), strict=True):
        for other, lower in zip(cosines, scores.tolist(), strict=True):
            if score > lower:
                total = total + ((other - cosine) / temperature).exp()
    return total.log()


def test_three_pairs_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    second = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    # Cosines 0.8, 0.6 and 0; at T = 0.2 they are 4, 3 and 0. Rows 0 and 1 are above row 2 and not above each other.
    expected = math.log(1 + math.exp(0 - 4) + math.exp(0 - 3))
    assert float(cosent_loss(first, second, torch.tensor([7.0, 7.0, 1.0]), 0.2)) == pytest.approx(expected, rel=1e-5)
    # Upside down.
    expected = math.log(1 + math.exp(4 - 0) + math.exp(3 - 0))
    assert float(cosent_loss(first, second, torch.tensor([1.0, 1.0, 7.0]), 0.2)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_loss_and_gradients_follow_the_definition(temperature: float) -> None:
    torch.testing.assert_close(
        gradients_of(lambda a, b: cosent_loss(a, b, SCORES, temperature), pairs()),
        gradients_of(lambda a, b: by_definition(a, b, SCORES, temperature), pairs()),
    )


def test_equals_sentence_transformers() -> None:
    package = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    peer = package.CoSENTLoss(torch.nn.Sequential(torch.nn.Identity()), scale=20.0)
    torch.testing.assert_close(
        gradients_of(lambda a, b: cosent_loss(F.normalize(a), F.normalize(b), SCORES), pairs()),
        gradients_of(lambda a, b: peer.compute_loss_from_embeddings([a, b], SCORES), pairs()),
    )


def test_only_the_order_of_the_scores_counts() -> None:
    expected = cosent_loss(*pairs(), SCORES)
    torch.testing.assert_close(cosent_loss(*pairs(), 100 * SCORES + 7), expected, rtol=0, atol=0)
    assert abs(float(cosent_loss(*pairs(), -SCORES) - expected)) > 0.1


def test_invariant_to_a_joint_permutation_of_the_rows() -> None:
    order = torch.tensor([3, 0, 6, 2, 1, 5, 7, 4])
    rows = (row[order] for row in pairs())
    torch.testing.assert_close(cosent_loss(*rows, SCORES[order]), cosent_loss(*pairs(), SCORES))


@pytest.mark.parametrize("num_rows", [1, 4])
def test_equal_scores_cost_nothing(num_rows: int) -> None:
    first, second = (row.requires_grad_() for row in pairs(num_rows))
    loss = cosent_loss(first, second, torch.ones(num_rows))
    loss.backward()
    assert loss == 0
    assert first.grad is not None
    assert torch.equal(first.grad, torch.zeros_like(first))


def test_lower_scores_are_counted() -> None:
    assert num_below(SCORES.sort().values).tolist() == [0, 1, 2, 3, 4, 4, 6, 6]


def test_a_batch_too_large_for_a_matrix_of_its_pairs_is_no_trouble() -> None:
    first, second = (row.float() for row in pairs(200_000, 2))
    loss = cosent_loss(first, second, torch.arange(200_000.0))  # whose matrix would take 160 GB
    assert math.isfinite(float(loss))


def test_shares_add_up_and_gradients_and_precision_are_right() -> None:
    assert_shares_add_up(lambda a, b, scores, across: cosent_loss(a, b, scores, 0.2, across=across), *pairs(), SCORES)
    assert_gradient_is_right(lambda a, b: cosent_loss(a, b, SCORES, 0.5), *pairs())
    assert_precision_is_kept(lambda a, b: cosent_loss(a, b, SCORES), *pairs(8, 16))


def test_scores_are_one_for_each_row() -> None:
    with pytest.raises(ValueError, match=r"scores must have shape \(8,\), one for each row, got \(7,\)"):
        cosent_loss(*pairs(), SCORES[:7])
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        cosent_loss(*pairs(), SCORES, 0)
