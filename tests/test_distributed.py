from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcl import distributed
from tests.processes import run_processes

pytestmark = pytest.mark.xdist_group("processes")


def test_one_process_is_the_identity() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    sizes = distributed.RowSizes.of(3, rows.device)
    assert sizes.sizes == (3,)
    assert sizes.offset == 0
    assert distributed.gather_rows(rows, sizes) is rows
    assert distributed.sum_over_processes(rows) is rows
    assert distributed.gather_objects("x") == ["x"]
    assert distributed.from_main_process(7) == 7
    assert distributed.is_true_anywhere(True, rows.device)
    assert not distributed.is_true_anywhere(False, rows.device)


@pytest.mark.parametrize("sizes", [(4, 4), (2, 5), (3, 1, 4)])
def test_gathered_rows_carry_the_gradient_of_every_process(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    rows = [torch.randn(size, 3) for size in sizes]
    weights = [torch.randn(sum(sizes), 3) for _ in sizes]
    results = run_processes("gather_and_weigh", len(sizes), tmp_path, rows=rows, weights=weights)
    expected = torch.stack(weights).sum(dim=0).split(sizes)
    for rank, result in enumerate(results):
        assert torch.equal(result["all"], torch.cat(rows))
        assert result["offset"] == sum(sizes[:rank])
        torch.testing.assert_close(result["grad"], expected[rank])


def test_a_sum_over_processes_carries_the_gradient_of_every_process(tmp_path: Path) -> None:
    values, weights = [torch.randn(4), torch.randn(4)], [torch.randn(4), torch.randn(4)]
    for result in run_processes("sum_and_weigh", 2, tmp_path, values=values, weights=weights):
        torch.testing.assert_close(result["sum"], values[0] + values[1])
        torch.testing.assert_close(result["grad"], weights[0] + weights[1])


def test_a_logsumexp_over_processes_carries_the_gradient_of_every_process(tmp_path: Path) -> None:
    values = [torch.tensor([1.0, -torch.inf, 500.0, -3.0]), torch.tensor([2.0, 4.0, -500.0, -torch.inf])]
    weights = [torch.randn(4), torch.randn(4)]
    both = torch.stack(values).requires_grad_()
    expected = torch.logsumexp(both, dim=0)
    (expected * sum(weights)).sum().backward()
    assert both.grad is not None
    for rank, result in enumerate(run_processes("logsumexp_and_weigh", 2, tmp_path, values=values, weights=weights)):
        torch.testing.assert_close(result["found"], expected.detach())
        torch.testing.assert_close(result["grad"], both.grad[rank])


def test_gradients_are_added_up_in_every_precision_and_where_there_are_any(tmp_path: Path) -> None:
    grads = [[torch.randn(2, 3), None, torch.randn(4).double(), torch.randn(5)] for _ in range(2)]
    for result in run_processes("summed_gradients", 2, tmp_path, grads=grads):
        for number, found in enumerate(result["grads"]):
            if grads[0][number] is None:
                assert found is None
            else:
                torch.testing.assert_close(found, grads[0][number] + grads[1][number])
