from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.byol import byol_loss
from tests.losses.checks import assert_gradient_is_right, assert_precision_is_kept, assert_shares_add_up, normal


def four(n: int = 6, d: int = 5) -> list[Tensor]:
    return [normal(n, d, seed=seed) for seed in range(4)]


def test_one_row_by_hand() -> None:
    # The cosines are 0.6 for one direction and -1 for the other: 2 - 1.2 and 2 + 2.
    prediction_1, target_2 = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    prediction_2, target_1 = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, -5.0]])
    assert float(byol_loss(prediction_1, target_2, prediction_2, target_1)) == pytest.approx(4.8, rel=1e-6)


def test_is_the_sum_of_both_directions_and_the_mean_over_rows() -> None:
    p1, z2, p2, z1 = four()
    expected = 0.0
    for i in range(6):
        for p, z in ((p1[i], z2[i]), (p2[i], z1[i])):
            cosine = float(p @ z) / math.sqrt(float(p @ p) * float(z @ z))
            expected += (2 - 2 * cosine) / 6
    assert float(byol_loss(p1, z2, p2, z1)) == pytest.approx(expected, rel=1e-12)


def test_is_an_affine_function_of_lightlys_negative_cosine() -> None:
    negative_cosine = pytest.importorskip("lightly.loss").NegativeCosineSimilarity()
    p1, z2, p2, z1 = four()
    expected = 4 + 2 * negative_cosine(p1, z2) + 2 * negative_cosine(p2, z1)
    torch.testing.assert_close(byol_loss(p1, z2, p2, z1), expected)


def test_is_not_the_mean_of_the_directions_nor_the_mean_over_dimensions() -> None:
    p1, z2, p2, z1 = four()
    loss = byol_loss(p1, z2, p2, z1)
    per_dimension = F.mse_loss(F.normalize(p1), F.normalize(z2)) + F.mse_loss(F.normalize(p2), F.normalize(z1))
    torch.testing.assert_close(loss, 5 * per_dimension)
    unnormalised = (p1 - z2).square().sum(1).mean() + (p2 - z1).square().sum(1).mean()
    assert abs(float(loss - unnormalised)) > 1


def test_invariant_to_the_norms_and_to_swapping_the_views() -> None:
    p1, z2, p2, z1 = four()
    expected = byol_loss(p1, z2, p2, z1)
    torch.testing.assert_close(byol_loss(3 * p1, 0.1 * z2, p2, 7 * z1), expected)
    torch.testing.assert_close(byol_loss(p2, z1, p1, z2), expected)


def test_is_exactly_zero_where_predictions_hit_and_8_where_they_are_opposite() -> None:
    z = normal(4, 3, seed=0).float()
    assert byol_loss(z, z, z, z) == 0
    assert float(byol_loss(z, -z, z, -z)) == pytest.approx(8)


def test_targets_take_no_gradient() -> None:
    tensors = [tensor.requires_grad_() for tensor in four()]
    byol_loss(*tensors).backward()
    assert [tensor.grad is None for tensor in tensors] == [False, True, False, True]


def test_shares_add_up_and_gradients_and_precision_are_right() -> None:
    p1, z2, p2, z1 = four(7)
    assert_shares_add_up(byol_loss, p1, z2, p2, z1)
    assert_gradient_is_right(lambda p1, p2: byol_loss(p1, z2, p2, z1), p1, p2)
    assert_precision_is_kept(byol_loss, *four(8, 64))
