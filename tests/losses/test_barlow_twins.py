from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.barlow_twins import barlow_twins_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    normal,
)


def views(n: int = 8, d: int = 5) -> tuple[Tensor, Tensor]:
    """Correlated views of dimensions with various means and spreads."""
    common = normal(n, d, seed=0) * torch.linspace(0.1, 9, d).double() + 3
    return common + 0.5 * normal(n, d, seed=1), common + 0.5 * normal(n, d, seed=2)


def by_loops(z1: Tensor, z2: Tensor, weight: float) -> float:
    n, d = z1.shape

    def column(z: Tensor, k: int) -> list[float]:
        values = [float(value) for value in z[:, k]]
        mean = sum(values) / n
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / n)
        return [(value - mean) / deviation for value in values]

    first, second = [column(z1, k) for k in range(d)], [column(z2, k) for k in range(d)]
    total = 0.0
    for i in range(d):
        for j in range(d):
            c = sum(a * b for a, b in zip(first[i], second[j], strict=True)) / n
            total += (c - 1) ** 2 if i == j else weight * c**2
    return total


def test_two_dimensions_by_hand() -> None:
    # Standardised, the columns are (1, 1, -1, -1) and (1, -1, 1, -1) in view 1, the first of them twice in view 2:
    # C = [[1, 1], [0, 0]], so the diagonal costs 0 + 1 and the rest 1 * weight.
    a, b = torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    z1, z2 = torch.stack([3 * a + 2, b], dim=1), torch.stack([a, 0.1 * a - 5], dim=1)
    assert float(barlow_twins_loss(z1, z2, 0.25)) == pytest.approx(1.25, rel=1e-5)
    assert float(barlow_twins_loss(z1, z2)) == pytest.approx(1.0051, rel=1e-5)
    assert float(barlow_twins_loss(z1, z2, 0.25, loss_scale=0.024)) == pytest.approx(0.03, rel=1e-5)


def test_is_the_formula_in_loops() -> None:
    z1, z2 = views()
    assert float(barlow_twins_loss(z1, z2, 0.3)) == pytest.approx(by_loops(z1, z2, 0.3), rel=1e-10)


def test_equals_lightlys_but_for_its_epsilon() -> None:
    theirs = pytest.importorskip("lightly.loss").BarlowTwinsLoss(lambda_param=0.0051)
    z1, z2 = views(64, 8)
    # Batch norm adds 1e-5 to each variance.
    torch.testing.assert_close(barlow_twins_loss(z1, z2), theirs(z1, z2), rtol=1e-2, atol=0)
    torch.testing.assert_close(barlow_twins_loss(1000 * z1, 1000 * z2), theirs(1000 * z1, 1000 * z2), rtol=1e-6, atol=0)


def test_the_deviation_is_biased() -> None:
    z1, z2 = views()
    unbiased = ((z1 - z1.mean(0)) / z1.std(0)).T @ ((z2 - z2.mean(0)) / z2.std(0)) / 8
    wrong = (unbiased.diagonal() - 1).square().sum() + 0.3 * (unbiased - unbiased.diagonal().diag()).square().sum()
    assert abs(float(wrong - barlow_twins_loss(z1, z2, 0.3))) > 0.01


def test_statistics_of_each_process_alone_are_rejected() -> None:
    z1, z2 = views()
    normalised = [torch.cat([F.batch_norm(part, None, None, training=True) for part in z.split(4)]) for z in (z1, z2)]
    c = normalised[0].T @ normalised[1] / 8
    wrong = (c.diagonal() - 1).square().sum() + 0.3 * (c - c.diagonal().diag()).square().sum()
    assert abs(float(wrong - barlow_twins_loss(z1, z2, 0.3))) > 0.01


def test_invariant_to_the_order_of_rows_and_to_shift_and_scale_of_each_dimension() -> None:
    z1, z2 = views()
    expected, order = barlow_twins_loss(z1, z2), torch.tensor([5, 2, 7, 0, 1, 6, 4, 3])
    torch.testing.assert_close(barlow_twins_loss(z1[order], z2[order]), expected)
    scale, shift = 10 ** normal(5, seed=3), normal(5, seed=4)
    torch.testing.assert_close(barlow_twins_loss(scale * z1 + shift, 1e-4 * z2), expected)
    torch.testing.assert_close(barlow_twins_loss(z2, z1), expected)


@pytest.mark.parametrize("constant", [0.0, 0.1, 777.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_dimension_costs_1_and_takes_no_gradient(constant: float, dtype: torch.dtype) -> None:
    z1, z2 = (z.to(dtype) for z in views(7, 3))
    z1[:, 1] = constant
    loss, gradients = gradients_of(barlow_twins_loss, [z1, z2])
    kept = [0, 2]
    rest = barlow_twins_loss(z1[:, kept], z2[:, kept])
    first = (z1 - z1.mean(0))[:, kept] / z1.std(0, unbiased=False)[kept]
    second = (z2[:, 1] - z2[:, 1].mean()) / z2[:, 1].std(unbiased=False)
    torch.testing.assert_close(loss, rest + 1 + 0.0051 * (first.T @ second / 7).square().sum())
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert torch.equal(gradients[0][:, 1], torch.zeros(7, dtype=dtype))


def test_one_row_alone_is_all_constant() -> None:
    assert barlow_twins_loss(torch.ones(1, 3), torch.ones(1, 3)) == 3


def test_refuses_two_shapes() -> None:
    with pytest.raises(ValueError, match=r"same shape, got \(4, 3\) and \(4, 2\)"):
        barlow_twins_loss(torch.ones(4, 3), torch.ones(4, 2))


def test_shares_add_up_and_gradients_and_precision_are_right() -> None:
    def loss(z1: Tensor, z2: Tensor, across: Across | None = None) -> Tensor:
        return barlow_twins_loss(z1, z2, 0.3, loss_scale=0.5, across=across)

    z1, z2 = views()
    assert_shares_add_up(loss, z1, z2)
    assert_gradient_is_right(loss, z1, z2)
    assert_precision_is_kept(loss, normal(32, 6, seed=0), normal(32, 6, seed=1))


@pytest.mark.parametrize("factor", [1e-25, 1e20])
def test_the_scale_of_the_projections_does_not_matter(factor: float) -> None:
    torch.manual_seed(5)
    z1, z2 = torch.randn(8, 4), torch.randn(8, 4)
    torch.testing.assert_close(barlow_twins_loss(z1 * factor, z2 * factor), barlow_twins_loss(z1, z2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_constant(value: float) -> None:
    z1, z2 = torch.randn(8, 4), torch.randn(8, 4)
    z1[3] = value
    assert barlow_twins_loss(z1, z2).isnan()
