from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.skip_gram import skip_gram_loss
from tests.losses.checks import assert_gradient_is_right, assert_precision_is_kept, assert_shares_add_up, normal


def words(n: int = 7, k: int = 3, d: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    return normal(n, d, seed=0), normal(n, d, seed=1), normal(n, k, d, seed=2)


def test_one_pair_by_hand() -> None:
    # The products are 2 with the context, 1 and -3 with the two negatives.
    loss = skip_gram_loss(
        torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[[1.0, 0.0], [-1.0, -1.0]]])
    )
    expected = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1)) + math.log(1 + math.exp(-3))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_is_the_formula_in_loops() -> None:
    centres, contexts, negatives = words()
    total = 0.0
    for i in range(7):
        total += math.log(1 + math.exp(-float(centres[i] @ contexts[i]))) / 7
        total += sum(math.log(1 + math.exp(float(centres[i] @ negatives[i, k]))) for k in range(3)) / 7
    assert float(skip_gram_loss(centres, contexts, negatives)) == pytest.approx(total, rel=1e-12)


def test_is_the_sum_of_binary_cross_entropies_and_not_their_mean() -> None:
    centres, contexts, negatives = words()
    logits = torch.cat([contexts[:, None], negatives], dim=1) @ centres[:, :, None]
    target = torch.zeros(7, 4, 1, dtype=torch.float64).index_fill(1, torch.tensor([0]), 1)
    mean = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(skip_gram_loss(centres, contexts, negatives), 4 * mean)


def test_vectors_are_not_normalised() -> None:
    centres, contexts, negatives = words()
    normalised = skip_gram_loss(F.normalize(centres), F.normalize(contexts), F.normalize(negatives, dim=2))
    assert abs(float(normalised - skip_gram_loss(centres, contexts, negatives))) > 0.1


def test_large_products_stay_finite() -> None:
    centres = torch.full((1, 2), 300.0, requires_grad=True)
    loss = skip_gram_loss(centres, -torch.full((1, 2), 300.0), torch.full((1, 1, 2), 300.0))
    loss.backward()
    assert loss.item() == pytest.approx(360_000)
    assert centres.grad.isfinite().all()


def test_an_excluded_draw_counts_as_absent() -> None:
    centres, contexts, negatives = words()
    excluded = torch.zeros(7, 3, dtype=torch.bool)
    excluded[:, 1] = True
    expected = skip_gram_loss(centres, contexts, negatives[:, [0, 2]])
    torch.testing.assert_close(skip_gram_loss(centres, contexts, negatives, excluded=excluded), expected)


def test_invariant_to_the_order_of_pairs_and_negatives_and_to_a_rotation() -> None:
    centres, contexts, negatives = words()
    expected = skip_gram_loss(centres, contexts, negatives)
    torch.testing.assert_close(skip_gram_loss(centres.flip(0), contexts.flip(0), negatives.flip(0, 1)), expected)
    turn = torch.linalg.qr(normal(4, 4, seed=3)).Q
    torch.testing.assert_close(skip_gram_loss(centres @ turn, contexts @ turn, negatives @ turn), expected)


def test_shares_add_up_and_gradients_and_precision_are_right() -> None:
    assert_shares_add_up(skip_gram_loss, *words())
    assert_gradient_is_right(skip_gram_loss, *words())
    assert_precision_is_kept(skip_gram_loss, *words(16, 5, 32))
