from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmcl.losses import tiles
from mmcl.losses.marks import GroupMarks
from mmcl.losses.tiles import both_log_sums, pair_log_sums, row_log_sums, self_log_sums
from tests.losses.checks import assert_gradient_is_right, gradients_of, normal, unit

pytestmark = pytest.mark.usefixtures("engine")


def some_sums(rows: Tensor, cols: Tensor) -> Tensor:
    """A scalar in which every log-sum counts differently."""
    return (rows * torch.arange(1, len(rows) + 1)).sum() + (cols * torch.linspace(-1, 2, len(cols))).sum()


def dense_sums(queries: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
    scores = scale * queries @ keys.T
    return some_sums(scores.logsumexp(dim=1), scores.logsumexp(dim=0))


@pytest.mark.parametrize("scale", [0.0, 1.0, 14.0, 100.0, 1000.0, -30.0])
@pytest.mark.parametrize("norm", [1.0, 5.0])
def test_both_log_sums_and_their_gradients_are_those_of_the_whole_matrix(scale: float, norm: float) -> None:
    inputs = [norm * unit(11, 5, seed=0), norm * unit(10, 5, seed=1), torch.tensor(scale, dtype=torch.float64)]
    value, gradients = gradients_of(lambda q, k, s: some_sums(*both_log_sums(q, k, s)), inputs)
    expected, expected_gradients = gradients_of(dense_sums, inputs)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [14.0, 100.0, 1000.0])
def test_float32_is_exact_where_rows_and_columns_lie_far_apart(scale: float) -> None:
    # Row 0 scores high everywhere, row 1 low: no one shift serves both.
    queries, keys = unit(8, 4, seed=2), unit(9, 4, seed=3)
    queries[0], queries[1], keys[:5] = keys[0], -keys[0], keys[0] + 0.01 * keys[:5]
    inputs = [queries, keys, torch.tensor(scale, dtype=torch.float64)]
    expected, expected_gradients = gradients_of(dense_sums, inputs)
    value, gradients = gradients_of(
        lambda q, k, s: some_sums(*both_log_sums(q, k, s)), [tensor.float() for tensor in inputs]
    )
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-4)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=0, atol=float(wanted.abs().max()) * 3e-7 * scale)


def test_row_sums_alone() -> None:
    queries, keys = normal(7, 4, seed=4), normal(9, 4, seed=5)
    torch.testing.assert_close(row_log_sums(queries, keys, 2.0), (2 * queries @ keys.T).logsumexp(dim=1))
    assert_gradient_is_right(lambda q, k, s: row_log_sums(q, k, s), queries, keys, torch.tensor(2.0).double())


def test_sums_of_rows_with_themselves_halve_nothing_but_the_work() -> None:
    rows, groups, samples = normal(11, 4, seed=6), torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 0]), torch.arange(11)
    marks = GroupMarks(0, groups, groups, samples, samples)
    scores = (1.5 * rows @ rows.T).masked_fill(groups[:, None] == groups, -torch.inf)
    torch.testing.assert_close(self_log_sums(rows, 1.5, marks), scores.logsumexp(dim=1))
    assert_gradient_is_right(lambda x, s: self_log_sums(x, s, marks), rows, torch.tensor(1.5).double())


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_a_row_without_entries_sums_to_minus_infinity_and_takes_no_gradient(scale: float) -> None:
    queries, keys = unit(6, 3, seed=7), unit(5, 3, seed=8)
    groups = torch.tensor([0, 1, 2, 3, 4, 9]), torch.tensor([9, 9, 9, 9, 9])
    marks = GroupMarks(None, *groups, torch.zeros(6).long(), torch.ones(5).long())
    queries.requires_grad_()
    sums, cols = both_log_sums(queries, keys, scale, marks)
    assert sums[5] == -torch.inf
    torch.testing.assert_close(sums[:5], (scale * queries[:5] @ keys.T).logsumexp(dim=1))
    torch.testing.assert_close(cols, (scale * queries[:5] @ keys.T).logsumexp(dim=0))
    (torch.where(torch.isinf(sums), 0.0, sums).sum() + cols.sum()).backward()
    assert torch.equal(queries.grad[5], torch.zeros(3, dtype=torch.float64))
    assert queries.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("log_sums", [row_log_sums, lambda q, k, *rest: both_log_sums(k, q, *rest)[1]])
def test_the_undefined_gradient_of_a_sum_of_nothing_goes_no_further(
    log_sums: Callable[..., Tensor], scale: float
) -> None:
    queries, keys = unit(6, 3, seed=7).requires_grad_(), unit(5, 3, seed=8).requires_grad_()
    # The last query is of the group of every key.
    groups = [torch.tensor([0, 1, 2, 3, 4, 9]), torch.tensor([9, 9, 9, 9, 9])]
    groups = groups if log_sums is row_log_sums else groups[::-1]
    marks = GroupMarks(None, *groups, *(torch.full_like(ids, place) for place, ids in enumerate(groups)))
    sums = log_sums(queries, keys, scale, marks)
    # As a memory that has nothing for the query either widens it: the gradient of log(0 + 0) is not a number.
    widened = torch.logaddexp(sums, torch.full_like(sums, -torch.inf))
    assert widened[5] == -torch.inf
    torch.where(torch.isinf(widened), 0.0, widened).sum().backward()
    assert torch.equal(queries.grad[5], torch.zeros(3, dtype=torch.float64))
    assert queries.grad.isfinite().all()
    assert keys.grad.isfinite().all()
    assert (queries.grad[:5] != 0).any(dim=1).all()


def test_every_combination_of_wanted_gradients() -> None:
    inputs = [normal(7, 3, seed=9), normal(6, 3, seed=10), torch.tensor(1.3).double()]
    _, expected = gradients_of(dense_sums, inputs)
    for wanted in [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1)]:
        leaves = [tensor.clone().requires_grad_(place in wanted) for place, tensor in enumerate(inputs)]
        some_sums(*both_log_sums(*leaves)).backward()
        for place, leaf in enumerate(leaves):
            assert (leaf.grad is not None) == (place in wanted)
            if place in wanted:
                torch.testing.assert_close(leaf.grad, expected[place])


def test_a_second_backward_pass_gives_the_same() -> None:
    queries, keys = normal(7, 3, seed=11).requires_grad_(), normal(6, 3, seed=12)
    total = some_sums(*both_log_sums(queries, keys, 1.0))
    first, second = (torch.autograd.grad(total, queries, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)


def test_autocast_in_the_backward_pass_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # The dense path's plain operations follow autocast in their own backward pass as in any other.
    monkeypatch.setattr(tiles, "DENSE_SCORES", 0)
    queries, keys = unit(9, 8, seed=13).float().requires_grad_(), unit(9, 8, seed=14).float()
    plain = torch.autograd.grad(row_log_sums(queries, keys, 50.0).sum(), queries)[0]
    sums = row_log_sums(queries, keys, 50.0).sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(torch.autograd.grad(sums, queries)[0], plain)


def test_no_rows_or_no_columns() -> None:
    queries, keys = torch.zeros(0, 3, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    rows, cols = both_log_sums(queries, keys, 1.0)
    assert (len(rows), cols.tolist()) == (0, [-torch.inf] * 4)
    rows.sum().backward()
    assert torch.equal(keys.grad, torch.zeros(4, 3))
    assert row_log_sums(keys, queries, 1.0).tolist() == [-torch.inf] * 4


def test_nan_is_not_hidden() -> None:
    queries = torch.full((5, 3), torch.nan)
    assert row_log_sums(queries, queries, 1.0).isnan().all()


@pytest.mark.parametrize("scale", [3.0, 300.0])
def test_own_scores_come_with_the_sums_and_share_their_gradient(scale: float) -> None:
    def all_three(rows: Tensor, cols: Tensor, own: Tensor) -> Tensor:
        return some_sums(rows, cols) - (own * torch.arange(3, 3 + len(own))).sum()

    def dense(queries: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
        scores = scale * queries @ keys.T
        return all_three(scores.logsumexp(dim=1), scores.logsumexp(dim=0), scores[torch.arange(7), torch.arange(2, 9)])

    inputs = [unit(7, 4, seed=15), unit(10, 4, seed=16), torch.tensor(scale).double()]
    torch.testing.assert_close(
        gradients_of(lambda q, k, s: all_three(*pair_log_sums(q, k, s, 2)), inputs), gradients_of(dense, inputs)
    )
