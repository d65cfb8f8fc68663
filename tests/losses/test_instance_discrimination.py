from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmcl.losses.across import Across
from mmcl.losses.instance_discrimination import estimate_normaliser, nce_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    normal,
    on_each_process,
)


def scores(n: int = 7, k: int = 5) -> tuple[Tensor, Tensor]:
    return normal(n, seed=0).tanh(), normal(n, k, seed=1).tanh()


def by_the_papers_equations(own: Tensor, noise: Tensor, num_slots: int, z: float, temperature: float) -> float:
    def h(score: float) -> float:
        p = math.exp(score / temperature) / z
        return p / (p + noise.shape[1] / num_slots)

    total = 0.0
    for i in range(len(own)):
        total -= math.log(h(float(own[i]))) + sum(math.log(1 - h(float(score))) for score in noise[i])
    return total / len(own)


def test_one_row_by_hand() -> None:
    # T = 0.5, Z = e^2, K / n = 1 / 2: P is 1 for the own slot, so h = 2/3, and 1/e^2 for the noise.
    loss = nce_loss(torch.tensor([1.0]), torch.tensor([[0.0, 0.0]]), 4, math.exp(2), 0.5)
    h_noise = math.exp(-2) / (math.exp(-2) + 0.5)
    assert float(loss) == pytest.approx(-math.log(2 / 3) - 2 * math.log(1 - h_noise), rel=1e-6)


def test_is_equations_5_to_8_in_loops() -> None:
    own, noise = scores()
    expected = by_the_papers_equations(own, noise, 100, 150.0, 0.3)
    assert float(nce_loss(own, noise, 100, 150.0, 0.3)) == pytest.approx(expected, rel=1e-12)


def test_normaliser_is_the_number_of_slots_times_the_mean_exponential() -> None:
    _, noise = scores()
    expected = 1000 * (noise / 0.07).exp().mean()
    torch.testing.assert_close(estimate_normaliser(noise, 1000), expected)
    assert not estimate_normaliser(noise.requires_grad_(), 1000).requires_grad


@pytest.mark.parametrize("sizes", [[2, 5], [3, 1, 3]])
def test_normaliser_is_that_of_all_processes(sizes: list[int]) -> None:
    _, noise = scores()
    parts = on_each_process(lambda own, across: estimate_normaliser(noise[own], 50, across=across), sizes)
    for part in parts:
        torch.testing.assert_close(part, estimate_normaliser(noise, 50))


def test_adds_the_noise_up_and_does_not_average_it() -> None:
    own, noise = scores()
    once, twice = (nce_loss(own, noise.repeat(1, times), 100 * times, 150.0 * times) for times in (1, 2))
    # With twice the draws of the same kind and K / n as before, the noise's part is twice as large.
    p = (own / 0.07).exp() / 150
    own_part = -(p / (p + 0.05)).log().mean()
    own_part_twice = -(p / 2 / (p / 2 + 0.05)).log().mean()
    assert float(twice - own_part_twice) > 1.5 * float(once - own_part) > 0


def test_is_not_a_softmax_over_own_and_noise() -> None:
    own, noise = scores()
    softmax = torch.logsumexp(torch.cat([own[:, None], noise], 1) / 0.07, 1) - own / 0.07
    assert abs(float(softmax.mean() - nce_loss(own, noise, 100, estimate_normaliser(noise, 100)))) > 0.1


def test_extreme_scores_stay_finite() -> None:
    own, noise = torch.tensor([-1.0]).requires_grad_(), torch.tensor([[1.0, -1.0]]).requires_grad_()
    loss = nce_loss(own, noise, 10**6, 1e-30, 1e-3)
    loss.backward()
    assert loss.isfinite()
    assert own.grad.isfinite().all()
    assert noise.grad.isfinite().all()


def test_an_excluded_draw_costs_nothing_while_k_stays() -> None:
    own, noise = scores()
    excluded = torch.zeros(7, 5, dtype=torch.bool)
    excluded[2, 3] = True
    h = (noise[2, 3] / 0.3).exp() / 150
    h = h / (h + 0.05)
    less = nce_loss(own, noise, 100, 150.0, 0.3) + (1 - h).log() / 7
    torch.testing.assert_close(nce_loss(own, noise, 100, 150.0, 0.3, excluded=excluded), less)


def test_invariant_to_the_order_of_rows_and_draws() -> None:
    own, noise = scores()
    torch.testing.assert_close(nce_loss(own.flip(0), noise.flip(0, 1), 9, 5.0), nce_loss(own, noise, 9, 5.0))


def test_refuses_no_noise() -> None:
    with pytest.raises(ValueError, match="one column at least, got none"):
        nce_loss(torch.zeros(2), torch.zeros(2, 0), 10, 1.0)


def test_shares_add_up_and_gradients_and_precision_are_right() -> None:
    def loss(own: Tensor, noise: Tensor, across: Across | None = None) -> Tensor:
        return nce_loss(own, noise, 100, 150.0, 0.3, across=across)

    assert_shares_add_up(loss, *scores())
    assert_gradient_is_right(loss, *scores())
    assert_precision_is_kept(loss, *scores(20, 30))
