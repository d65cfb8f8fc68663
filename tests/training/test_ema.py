from __future__ import annotations

import pytest
import torch
from torch import nn

from mmcl.training.ema import WeightAverage


def make_module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def test_follows_the_weights_by_hand() -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)
    average = WeightAverage(module, decay=0.9)
    with torch.no_grad():
        module.weight.fill_(2.0)
    average.update(module)
    # The first update's decay is 1/10, not 0.9.
    assert average.tensors["weight"].item() == pytest.approx(1.9)
    average.update(module)
    assert average.tensors["weight"].item() == pytest.approx(2 - 0.1 * 2 / 11)


def test_buffers_are_copied() -> None:
    module = make_module()
    average = WeightAverage(module, decay=0.9)
    module(torch.randn(8, 2) + 3)
    average.update(module)
    assert torch.equal(average.tensors["1.running_mean"], module[1].running_mean)
    assert average.tensors["1.num_batches_tracked"].item() == 1


def test_swapped_in_and_out_again_even_after_an_error() -> None:
    module = make_module()
    average = WeightAverage(module, decay=0.5)
    with torch.no_grad():
        module[0].weight.add_(1)
    own, kept = module[0].weight.detach().clone(), average.tensors["0.weight"].clone()

    def fail() -> None:
        with average.swapped_in(module):
            assert torch.equal(module[0].weight, kept)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.equal(module[0].weight, own)
    assert torch.equal(average.tensors["0.weight"], kept)


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight


def test_tied_weights_are_averaged_and_swapped_once() -> None:
    module = Tied()
    module.first.weight.data.fill_(0.0)
    average = WeightAverage(module, 0.9)
    module.first.weight.data.fill_(1.0)
    average.update(module)
    expected = 1 - 1 / 10
    with average.swapped_in(module):
        torch.testing.assert_close(module.second.weight.data, torch.full((2, 2), expected))
    assert module.first.weight.eq(1.0).all()
