"""LARS against its definition."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmcl.training.lars import LARS


def parameters_of(*shapes: tuple[int, ...], seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def gradients_like(parameters: list[nn.Parameter], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1000 + seed)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]


def take(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], gradients: list[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer.step()


def reference(weight: Tensor, gradients: list[Tensor], lrs: list[float], m: float, wd: float, eta: float) -> Tensor:
    """SimCLR's LARS for one matrix, number by number."""
    w, v = weight.flatten().tolist(), [0.0] * weight.numel()
    for gradient, lr in zip(gradients, lrs, strict=True):
        u = [g + wd * x for g, x in zip(gradient.flatten().tolist(), w, strict=True)]
        trust = eta * math.sqrt(math.fsum(x * x for x in w)) / math.sqrt(math.fsum(x * x for x in u))
        v = [m * b + lr * trust * x for b, x in zip(v, u, strict=True)]
        w = [x - b for x, b in zip(w, v, strict=True)]
    return torch.tensor(w, dtype=torch.float64).view_as(weight)


def test_two_steps_computed_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    optimizer = LARS([weight], lr=2.0, momentum=0.5, weight_decay=0.1, trust_coefficient=0.01)
    # u = (-0.3, 0.4) + 0.1 (3, 4) = (0, 0.8); trust = 0.01 * 5 / 0.8 = 1/16; v = 2 / 16 u = (0, 0.1)
    take(optimizer, [weight], [torch.tensor([[-0.3, 0.4]], dtype=torch.float64)])
    assert weight.tolist() == [pytest.approx([3.0, 3.9])]
    # u = (0, -0.39) + (0.3, 0.39) = (0.3, 0); trust = 0.01 sqrt(9 + 15.21) / 0.3
    take(optimizer, [weight], [torch.tensor([[0.0, -0.39]], dtype=torch.float64)])
    assert weight.tolist() == [pytest.approx([3.0 - 2 * 0.01 * math.sqrt(24.21), 3.9 - 0.5 * 0.1])]


def test_many_steps_equal_a_plain_loop_while_the_rate_changes() -> None:
    parameters = parameters_of((3, 4), (2, 3, 2, 2))
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = LARS(parameters, lr=1.0, momentum=0.9, weight_decay=0.3, trust_coefficient=0.02)
    lrs, history = [0.2, 1.0, 3.0, 0.5, 0.1], []
    for step, lr in enumerate(lrs):
        optimizer.param_groups[0]["lr"] = lr
        history.append(gradients_like(parameters, step))
        take(optimizer, parameters, history[-1])
    for index, parameter in enumerate(parameters):
        gradients = [gradients[index] for gradients in history]
        expected = reference(before[index], gradients, lrs, 0.9, 0.3, 0.02)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(5,), ()])
def test_tensors_of_fewer_than_two_dimensions_take_plain_momentum_steps_without_decay(shape: tuple[int, ...]) -> None:
    ours, theirs = parameters_of(shape), parameters_of(shape)
    lars = LARS(ours, lr=0.1, momentum=0.9, weight_decay=0.5, trust_coefficient=0.001)
    sgd = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=0.0)
    for step in range(5):
        take(lars, ours, gradients_like(ours, step))
        take(sgd, theirs, gradients_like(theirs, step))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_without_decay_a_step_does_not_depend_on_the_size_of_the_gradient(factor: float) -> None:
    one, other = parameters_of((3, 4)), parameters_of((3, 4))
    gradients = gradients_like(one, 0)
    take(LARS(one, lr=1.0), one, gradients)
    take(LARS(other, lr=1.0), other, [factor * gradient for gradient in gradients])
    torch.testing.assert_close(one[0], other[0], rtol=1e-12, atol=0)


def test_the_first_step_is_lr_times_the_trust_coefficient_of_the_norm() -> None:
    (weight,) = parameters_of((6, 7))
    before = weight.detach().clone()
    take(LARS([weight], lr=3.0, weight_decay=0.1, trust_coefficient=0.01), [weight], gradients_like([weight], 0))
    assert (weight - before).norm().item() == pytest.approx(0.03 * before.norm().item())


def test_a_norm_of_zero_means_a_trust_of_one() -> None:
    zero = nn.Parameter(torch.zeros(2, 2))
    take(LARS([zero], lr=0.5), [zero], [torch.ones(2, 2)])
    assert torch.equal(zero, torch.full((2, 2), -0.5))
    (weight,) = parameters_of((2, 2))
    before = weight.detach().clone()
    take(LARS([weight], lr=0.5), [weight], [torch.zeros(2, 2, dtype=torch.float64)])
    assert torch.equal(weight, before)


def test_parameters_without_a_gradient_stay_and_get_no_state() -> None:
    still, moved = parameters_of((2, 2), (2, 2))
    before = still.detach().clone()
    optimizer = LARS([still, moved], lr=1.0, weight_decay=0.1)
    moved.grad = torch.ones_like(moved)
    optimizer.step()
    assert torch.equal(still, before)
    assert set(optimizer.state) == {moved}


def test_gradients_stay_as_they_are() -> None:
    parameters = parameters_of((3, 4), (3,))
    gradients = gradients_like(parameters, 0)
    take(LARS(parameters, lr=1.0, weight_decay=0.1), parameters, gradients)
    assert all(torch.equal(p.grad, g) for p, g in zip(parameters, gradients, strict=True) if p.grad is not None)


def test_buffers_lie_in_memory_as_their_parameters() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    optimizer = LARS([weight], lr=1.0)
    take(optimizer, [weight], [torch.randn(4, 3, 2, 2)])
    assert optimizer.state[weight]["momentum_buffer"].stride() == weight.stride()


def test_a_closure_is_called_with_gradients_on_and_its_loss_returned() -> None:
    (weight,) = parameters_of((2, 2))
    optimizer = LARS([weight], lr=1.0)

    def closure() -> float:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    before = weight.detach().clone()
    assert optimizer.step(closure) == pytest.approx(before.square().sum().item())
    assert not torch.equal(weight, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must be >= 0, got -1"),
        ({"lr": 1, "momentum": 1}, "momentum must be >= 0 and < 1, got 1"),
        ({"lr": 1, "weight_decay": -0.1}, "weight_decay must be >= 0, got -0.1"),
        ({"lr": 1, "trust_coefficient": 0}, "trust_coefficient must be > 0, got 0"),
        ({"lr": math.nan}, "lr must be >= 0, got nan"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LARS(parameters_of((2, 2)), **options)
