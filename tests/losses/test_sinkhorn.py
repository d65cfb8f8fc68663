from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmcl.losses.sinkhorn import sinkhorn
from tests.losses.checks import normal, on_each_process, unit


def as_the_paper_writes_it(scores: Tensor, epsilon: float, num_iterations: int) -> Tensor:
    """Algorithm 1's listing in arXiv:2006.09882, appendix A: exponentials, rows to 1/K, columns to 1/B."""
    q = (scores / epsilon).exp().T
    q /= q.sum()
    k, b = q.shape
    for _ in range(num_iterations):
        q = q / q.sum(dim=1, keepdim=True) / k
        q = q / q.sum(dim=0, keepdim=True) / b
    return (q * b).T


def cosines(n: int, k: int) -> Tensor:
    return unit(n, 8, seed=0) @ unit(k, 8, seed=1).T


def test_one_iteration_by_hand() -> None:
    # exp gives [[1, 2], [1, 6]]; columns to 1: [[1/2, 1/4], [1/2, 3/4]]; rows to 1: [[2/3, 1/3], [2/5, 3/5]].
    scores = torch.tensor([[1.0, 2.0], [1.0, 6.0]]).log()
    expected = torch.tensor([[2 / 3, 1 / 3], [2 / 5, 3 / 5]])
    torch.testing.assert_close(sinkhorn(scores, epsilon=1.0, num_iterations=1), expected)


def test_is_the_papers_listing() -> None:
    scores = cosines(12, 5)
    torch.testing.assert_close(sinkhorn(scores), as_the_paper_writes_it(scores, 0.05, 3))
    torch.testing.assert_close(sinkhorn(scores, 0.2, 7), as_the_paper_writes_it(scores, 0.2, 7))


def test_equals_lightlys() -> None:
    theirs = pytest.importorskip("lightly.loss.swav_loss")
    scores = cosines(9, 4).float()
    torch.testing.assert_close(sinkhorn(scores), theirs.sinkhorn(scores))


def test_rows_sum_to_1_and_many_iterations_give_the_prototypes_equal_mass() -> None:
    codes = sinkhorn(cosines(12, 5), num_iterations=3)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(12, dtype=torch.float64))
    balanced = sinkhorn(cosines(12, 5), epsilon=0.5, num_iterations=200)
    torch.testing.assert_close(balanced.sum(dim=0), torch.full((5,), 12 / 5, dtype=torch.float64))


def test_invariant_to_a_constant_per_prototype_and_moves_with_permutations() -> None:
    # A prototype's constant is taken away at once by the first normalisation.
    scores, rows, columns = cosines(8, 4), torch.arange(8).flip(0), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(sinkhorn(scores + normal(1, 4, seed=3)), sinkhorn(scores))
    torch.testing.assert_close(sinkhorn(scores[rows][:, columns]), sinkhorn(scores)[rows][:, columns])


@pytest.mark.parametrize("factor", [1e4, -1e4])
def test_no_score_overflows(factor: float) -> None:
    codes = sinkhorn(factor * cosines(8, 4).float())
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(8))


def test_is_computed_in_float32_under_autocast_and_without_gradient() -> None:
    scores = cosines(8, 4).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = sinkhorn(scores)
    assert codes.dtype == torch.float32
    assert not codes.requires_grad
    torch.testing.assert_close(codes.double(), sinkhorn(scores.double()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [[2, 8], [3, 1, 6], [10, 0]])
def test_on_several_processes_it_is_the_assignment_of_all_rows(sizes: list[int]) -> None:
    scores = cosines(10, 4)
    parts = on_each_process(lambda own, across: sinkhorn(scores[own], across=across), sizes)
    torch.testing.assert_close(torch.cat(parts), sinkhorn(scores))
    apart = torch.cat([sinkhorn(part) for part in scores.split(sizes) if len(part)])
    assert sizes[1] == 0 or float((apart - sinkhorn(scores)).abs().max()) > 0.05


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match=r"epsilon must be > 0, got 0\.0"):
        sinkhorn(cosines(3, 2), epsilon=0.0)
    with pytest.raises(ValueError, match="num_iterations must be at least 1, got 0"):
        sinkhorn(cosines(3, 2), num_iterations=0)
