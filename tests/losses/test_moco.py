from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.moco import moco_loss
from tests.losses.checks import assert_gradient_is_right, assert_precision_is_kept, assert_shares_add_up, unit

QUEUE = unit(5, 4, seed=2)


def test_one_query_by_hand() -> None:
    # At T = 0.5 the scores are 1.2 for the key, 0 and -2 for the queue.
    loss = moco_loss(
        torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), 0.5
    )
    assert float(loss) == pytest.approx(math.log(math.exp(1.2) + 1 + math.exp(-2)) - 1.2, rel=1e-6)


def test_is_cross_entropy_with_the_positive_in_column_0() -> None:
    queries, keys = unit(7, 4, seed=0), unit(7, 4, seed=1)
    logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ QUEUE.T], dim=1) / 0.2
    expected = F.cross_entropy(logits, torch.zeros(7, dtype=torch.long))
    torch.testing.assert_close(moco_loss(queries, keys, QUEUE), expected)


def test_equals_lightlys_loss_with_its_memory_bank() -> None:
    loss_module = pytest.importorskip("lightly.loss")
    theirs = loss_module.NTXentLoss(temperature=0.2, memory_bank_size=(5, 4))
    with torch.no_grad():
        theirs.memory_bank.bank.copy_(QUEUE)
    queries, keys = unit(3, 4, seed=0).float(), unit(3, 4, seed=1).float()
    # Lightly takes the queue before these keys enter it, as we do.
    leaf = queries.clone().requires_grad_()
    torch.testing.assert_close(moco_loss(queries, keys, QUEUE.float()), theirs(leaf, keys).detach())


def test_keys_of_the_batch_are_no_negatives() -> None:
    queries, keys = unit(4, 4, seed=0), unit(4, 4, seed=1)
    alone = [moco_loss(queries[i : i + 1], keys[i : i + 1], QUEUE) for i in range(4)]
    torch.testing.assert_close(moco_loss(queries, keys, QUEUE), torch.stack(alone).mean())
    in_batch = torch.cat([queries @ keys.T, queries @ QUEUE.T], dim=1) / 0.2
    assert abs(float(F.cross_entropy(in_batch, torch.arange(4)) - moco_loss(queries, keys, QUEUE))) > 0.1


def test_entries_of_the_querys_group_are_left_out_and_unknown_ones_are_not() -> None:
    queries, keys = unit(2, 4, seed=0), unit(2, 4, seed=1)
    groups, queue_groups = torch.tensor([7, -1]), torch.tensor([7, 8, -1, -1, 7])
    first = moco_loss(queries[:1], keys[:1], QUEUE[[1, 2, 3]])
    second = moco_loss(queries[1:], keys[1:], QUEUE)
    loss = moco_loss(queries, keys, QUEUE, 0.2, groups, queue_groups)
    torch.testing.assert_close(loss, (first + second) / 2)


def test_a_query_with_no_negative_left_costs_nothing() -> None:
    queries = unit(2, 4, seed=0).requires_grad_()
    loss = moco_loss(queries, unit(2, 4, seed=1), QUEUE, 0.2, torch.zeros(2).long(), torch.zeros(5).long())
    loss.backward()
    assert loss == 0
    assert torch.equal(queries.grad, torch.zeros(2, 4))


def test_does_not_depend_on_the_order_of_the_queue_or_of_the_rows() -> None:
    queries, keys, order = unit(4, 4, seed=0), unit(4, 4, seed=1), torch.tensor([2, 0, 3, 1])
    expected = moco_loss(queries, keys, QUEUE)
    torch.testing.assert_close(moco_loss(queries[order], keys[order], QUEUE.flip(0)), expected)


def test_keys_and_queue_take_no_gradient() -> None:
    queries, keys, queue = (unit(3, 4, seed=seed).requires_grad_() for seed in range(3))
    moco_loss(queries, keys, queue).backward()
    assert queries.grad is not None
    assert keys.grad is None
    assert queue.grad is None


def test_a_small_loss_keeps_its_digits() -> None:
    query = torch.tensor([[1.0, 0.0]])
    loss = moco_loss(query, query, -query, 0.07)
    assert float(loss) == pytest.approx(math.log1p(math.exp(-2 / 0.07)), rel=1e-5)


def test_shares_add_up_and_gradients_and_precision_are_right() -> None:
    keys, groups = unit(7, 4, seed=1), torch.tensor([0, 1, 2, 3, 1, 5, 6])
    queue_groups = torch.tensor([1, -1, 6, 9, 3])

    def loss(queries: Tensor, keys: Tensor, groups: Tensor, across: Across | None = None) -> Tensor:
        return moco_loss(queries, keys, QUEUE, 0.3, groups, queue_groups, across=across)

    assert_shares_add_up(loss, unit(7, 4, seed=0), keys, groups)
    assert_gradient_is_right(lambda queries: loss(queries, keys, groups), unit(7, 4, seed=0))
    assert_precision_is_kept(moco_loss, unit(7, 64, seed=0), unit(7, 64, seed=1), unit(90, 64, seed=2))
