from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from mmcl.batch_norm import GlobalBatchNorm, has_batch_norm, running_statistics, use_global_batch_norm
from tests.processes import run_processes

pytestmark = pytest.mark.xdist_group("processes")


def make_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4 * 4, 5), nn.BatchNorm1d(5, momentum=None)).double()


@pytest.mark.parametrize("sizes", [(4, 3), (2, 5, 3)])
def test_uneven_processes_equal_one_batch(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    network = make_network()
    rows = [torch.randn(size, 2, 4, 4, dtype=torch.float64) for size in sizes]
    weights = [torch.randn(size, 5, dtype=torch.float64) for size in sizes]
    results = run_processes("batch_norm_gradients", len(sizes), tmp_path, network=network, rows=rows, weights=weights)

    reference = copy.deepcopy(network)
    whole = torch.cat(rows).requires_grad_()
    (reference(whole) * torch.cat(weights)).sum().backward()
    for rank, result in enumerate(results):
        torch.testing.assert_close(result["input"], whole.grad.split(sizes)[rank], rtol=1e-10, atol=1e-12)
        for name, parameter in reference.named_parameters():
            torch.testing.assert_close(result["parameters"][name], parameter.grad, rtol=1e-10, atol=1e-10)
        for name, buffer in reference.named_buffers():
            torch.testing.assert_close(result["buffers"][name], buffer)


def test_in_evaluation_mode_it_is_the_module_it_replaces() -> None:
    norm = BatchNormAct2d(3)
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2)
    norm.eval()
    x = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(GlobalBatchNorm(norm).eval()(x), norm(x))


def test_state_keeps_its_names() -> None:
    norm = nn.BatchNorm2d(3)
    assert set(GlobalBatchNorm(norm).state_dict()) == set(norm.state_dict())


def test_one_process_changes_nothing() -> None:
    network = make_network()
    assert use_global_batch_norm(network, torch.device("cpu")) is network
    assert not any(isinstance(module, GlobalBatchNorm) for module in network.modules())
    assert has_batch_norm(network)
    assert not has_batch_norm(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))


def test_running_statistics_are_the_buffers_of_batch_norms_alone() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), GlobalBatchNorm(nn.BatchNorm1d(2)), nn.Linear(2, 2))
    network.register_buffer("queue", torch.zeros(3))
    found = {id(tensor) for tensor in running_statistics(network)}
    assert found == {id(tensor) for name, tensor in network.named_buffers() if name != "queue"}
