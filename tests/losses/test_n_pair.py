from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.n_pair import n_pair_loss
from tests.losses.checks import assert_gradient_is_right, assert_precision_is_kept, assert_shares_add_up, normal

GROUPS = torch.tensor([0, 1, 2, 1, 3, 0, 4])


def pairs(n: int = 7, d: int = 4) -> tuple[Tensor, Tensor]:
    return normal(n, d, seed=0), normal(n, d, seed=1)


def by_loops(anchors: Tensor, positives: Tensor, groups: Tensor, memory: Tensor, memory_groups: Tensor) -> float:
    total = 0.0
    for i in range(len(anchors)):
        own = float(anchors[i] @ positives[i])
        others = [positives[j] for j in range(len(anchors)) if groups[j] != groups[i]]
        others += [row for row, group in zip(memory, memory_groups, strict=True) if group != groups[i]]
        total += math.log(1 + sum(math.exp(float(anchors[i] @ other) - own) for other in others))
    return total / len(anchors)


def test_two_pairs_by_hand() -> None:
    anchors, positives = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [3.0, 1.0]])
    # The products are [[1, 3], [2, 2]]; the squared norms 1, 4 and 2, 10.
    expected = (math.log(1 + math.exp(2)) + math.log(2)) / 2
    assert float(n_pair_loss(anchors, positives)) == pytest.approx(expected, rel=1e-6)
    assert float(n_pair_loss(anchors, positives, 0.1)) == pytest.approx(expected + 0.1 * (2.5 + 6), rel=1e-6)


def test_is_cross_entropy_of_the_dot_products() -> None:
    anchors, positives = pairs()
    expected = F.cross_entropy(anchors @ positives.T, torch.arange(7))
    torch.testing.assert_close(n_pair_loss(anchors, positives), expected)


def test_equals_pytorch_metric_learning_once_its_normalising_is_off() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    anchors, positives = pairs()
    both, labels = torch.cat([anchors, positives]), torch.arange(7).repeat(2)
    index = torch.arange(7)
    of_pairs = (index, index + 7, index, (index + 1) % 7)
    plain = losses.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False))
    torch.testing.assert_close(n_pair_loss(anchors, positives), plain(both, labels, of_pairs))
    # As it comes, it normalises, which is another loss.
    assert abs(float(losses.NPairsLoss()(both, labels, of_pairs) - n_pair_loss(anchors, positives))) > 0.1


def test_rows_of_one_group_are_no_negatives_nor_are_equal_ones_of_the_memory() -> None:
    anchors, positives = pairs()
    memory, memory_groups = normal(4, 4, seed=2), torch.tensor([0, 9, 3, 8])
    expected = by_loops(anchors, positives, GROUPS, memory, memory_groups)
    loss = n_pair_loss(anchors, positives, 0.0, GROUPS, memory=(memory, memory_groups))
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    own = by_loops(anchors, positives, torch.arange(7), memory, torch.full((4,), 99))
    assert float(n_pair_loss(anchors, positives, memory=(memory, memory_groups))) == pytest.approx(own, rel=1e-12)


def test_the_memory_takes_no_gradient() -> None:
    anchors, positives = pairs()
    memory = normal(4, 4, seed=2).requires_grad_()
    n_pair_loss(anchors.requires_grad_(), positives, memory=(memory, torch.arange(4))).backward()
    assert memory.grad is None
    assert anchors.grad is not None


def test_one_pair_without_negatives_costs_nothing() -> None:
    anchor = normal(1, 3, seed=0).requires_grad_()
    loss = n_pair_loss(anchor, anchor.detach())
    loss.backward()
    assert loss == 0
    assert torch.equal(anchor.grad, torch.zeros(1, 3))


def test_invariant_to_a_joint_permutation_and_rotation() -> None:
    anchors, positives = pairs()
    expected, order = n_pair_loss(anchors, positives, 0.1, GROUPS), torch.tensor([3, 0, 6, 2, 1, 5, 4])
    torch.testing.assert_close(n_pair_loss(anchors[order], positives[order], 0.1, GROUPS[order]), expected)
    turn = torch.linalg.qr(normal(4, 4, seed=3)).Q
    torch.testing.assert_close(n_pair_loss(anchors @ turn, positives @ turn, 0.1, GROUPS), expected)


def test_large_products_stay_finite() -> None:
    anchors = torch.full((2, 2), 1e4, requires_grad=True)
    loss = n_pair_loss(anchors, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert anchors.grad.isfinite().all()


def test_shares_add_up_and_gradients_and_precision_are_right() -> None:
    memory = (normal(4, 4, seed=2), torch.tensor([0, 9, 3, 8]))

    def loss(anchors: Tensor, positives: Tensor, groups: Tensor | None = None, across: Across | None = None) -> Tensor:
        return n_pair_loss(anchors, positives, 0.1, groups, across=across, memory=memory)

    assert_shares_add_up(loss, *pairs(), GROUPS)
    assert_shares_add_up(loss, *pairs())
    assert_gradient_is_right(lambda a, p: loss(a, p, GROUPS), *pairs())
    assert_precision_is_kept(n_pair_loss, *pairs(24, 16))
