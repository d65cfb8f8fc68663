from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.distances import Distance
from mmcl.losses.margin import batch_margin_loss, margin_loss
from mmcl.losses.mining import Mining
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    normal,
    unit,
)

LABELS = torch.tensor([0, 1, 0, -1, 1, 0, 2, 1, 2])
MEMORY = (unit(5, 4, seed=9), torch.tensor([1, 7, -1, 0, 2]))
SIMILAR = torch.tensor([1, 0, 0, 1, 0, 1, 1, 0, 0])
DETERMINISTIC: list[Mining] = ["all", "semi_hard", "hard"]


def test_four_pairs_by_hand() -> None:
    # Distances 0.5, 2, 0.5, 2; the first two pairs are similar: 0.125, 2, (1 - 0.5)^2 / 2 = 0.125, 0.
    x1, x2 = torch.zeros(4, 2), torch.tensor([[0.3, 0.4], [2.0, 0.0], [0.0, 0.5], [0.0, 2.0]])
    similar = torch.tensor([True, True, False, False])
    assert float(margin_loss(x1, x2, similar)) == pytest.approx(2.25 / 4, rel=1e-6)
    assert float(margin_loss(x1, x2, similar.float(), 3.0)) == pytest.approx((2.125 + 3.125 + 0.5) / 4, rel=1e-6)


def test_is_hadsells_equation_in_loops() -> None:
    x1, x2 = normal(9, 4, seed=0), normal(9, 4, seed=1)
    expected = 0.0
    for i in range(9):
        d = float((x1[i] - x2[i]).norm())
        expected += (d**2 / 2 if SIMILAR[i] else max(0.0, 2.5 - d) ** 2 / 2) / 9
    assert float(margin_loss(x1, x2, SIMILAR, 2.5)) == pytest.approx(expected, rel=1e-12)


def test_wrong_readings_give_other_numbers() -> None:
    x1, x2 = normal(9, 4, seed=0), normal(9, 4, seed=1)
    d, y = F.pairwise_distance(x1, x2, eps=0.0), SIMILAR.double()
    loss = margin_loss(x1, x2, SIMILAR, 2.5)
    right = y * d**2 / 2 + (1 - y) * (2.5 - d).clamp(min=0) ** 2 / 2
    torch.testing.assert_close(loss, right.mean())
    wrong = {
        "clamps d - m": y * d**2 / 2 + (1 - y) * (d - 2.5).clamp(min=0) ** 2 / 2,
        "subtracts the square": y * d**2 / 2 + (1 - y) * (2.5 - d**2).clamp(min=0) / 2,
        "without the half": 2 * right,
        "not squared": y * d + (1 - y) * (2.5 - d).clamp(min=0),
        "the paper's Y taken for y": (1 - y) * d**2 / 2 + y * (2.5 - d).clamp(min=0) ** 2 / 2,
    }
    assert {name for name, value in wrong.items() if abs(float(value.mean() - loss)) < 0.02} == set()


def test_pytorch_metric_learnings_contrastive_loss_is_another_one() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    x, labels = unit(8, 4, seed=0), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    euclidean = distances.LpDistance(normalize_embeddings=False)
    theirs = losses.ContrastiveLoss(distance=euclidean)(x, labels)
    # Theirs: linear in the distance, each kind averaged over its nonzero terms, no half. That is not Hadsell's.
    assert abs(float(theirs - batch_margin_loss(x, labels))) > 0.1
    d = torch.cdist(x, x)
    same = (labels[:, None] == labels) & ~torch.eye(8, dtype=torch.bool)
    differ = labels[:, None] != labels
    linear = d[same].mean() + (1 - d[differ & (d < 1)]).mean()
    torch.testing.assert_close(theirs, linear)


def test_pairs_at_distance_0_have_a_finite_gradient() -> None:
    x = normal(2, 3, seed=0)
    _, gradients = gradients_of(lambda x1, x2: margin_loss(x1, x2, torch.tensor([1, 0])), [x, x])
    assert all(gradient.isfinite().all() for gradient in gradients)


def pairs_by_loops(rows: Tensor, labels: Tensor, margin: float, mining: Mining) -> float:
    costs = []
    for a in range(len(rows)):
        to = {b: float((rows[a] - rows[b]).norm()) for b in range(len(rows)) if b != a and labels[b] >= 0 <= labels[a]}
        near = [d for b, d in to.items() if labels[b] == labels[a]]
        far = [d for b, d in to.items() if labels[b] != labels[a]]
        if mining == "semi_hard":
            far = [d for d in far if near and min(near) < d < margin]
        if mining == "hard":
            near, far = ([max(near)] if near else []), ([min(far)] if far else [])
        costs += [d**2 / 2 for d in near] + [max(0.0, margin - d) ** 2 / 2 for d in far]
    return sum(costs) / len(costs)


@pytest.mark.parametrize("mining", DETERMINISTIC)
def test_of_a_batch_it_is_the_mean_over_the_mined_pairs(mining: Mining) -> None:
    rows, labels = unit(10, 4, seed=0), torch.tensor([0, 1, 0, -1, 1, 0, 2, 1, 2, 9])
    expected = pairs_by_loops(rows, labels, 1.3, mining)
    assert float(batch_margin_loss(rows, labels, margin=1.3, mining=mining)) == pytest.approx(expected, rel=1e-12)


def test_rows_of_one_group_but_two_labels_by_hand() -> None:
    # At 0 and 1 two rows of label 0, at 0.9 one of label 1 and of the first one's group: similar at 1, dissimilar at
    # 0.1, both ways. The memory has one at 0.5, of label 2 and the second one's group: 0.5 and 0.4 from the others.
    rows, labels, groups = torch.tensor([[0.0], [1.0], [0.9]]), torch.tensor([0, 0, 1]), torch.tensor([5, 6, 5])
    batch = [1 / 2, 1 / 2, 0.9**2 / 2, 0.9**2 / 2]
    assert float(batch_margin_loss(rows, labels, group_ids=groups)) == pytest.approx(sum(batch) / 4, rel=1e-5)
    loss = batch_margin_loss(
        rows,
        labels,
        memory=(torch.tensor([[0.5]]), torch.tensor([2])),
        group_ids=groups,
        memory_group_ids=torch.tensor([6]),
    )
    assert float(loss) == pytest.approx((sum(batch) + 0.5**2 / 2 + 0.6**2 / 2) / 6, rel=1e-5)


def test_random_takes_as_many_dissimilar_pairs_as_similar_ones() -> None:
    # All distances are 1, so each similar pair costs 1/2 and each dissimilar one (3 - 1)^2 / 2.
    rows, labels = torch.eye(6) / 2**0.5, torch.tensor([0, 0, 0, 1, 1, 1])
    assert float(batch_margin_loss(rows, labels, margin=3.0, mining="random")) == pytest.approx((0.5 + 2) / 2, rel=1e-5)
    draws = {
        float(
            batch_margin_loss(unit(9, 4, seed=0), LABELS, mining="random", generator=torch.Generator().manual_seed(s))
        )
        for s in (0, 0, 1, 2)
    }
    assert len(draws) == 3


@pytest.mark.parametrize("distance", ["euclidean", "sq_euclidean", "cosine"])
def test_candidates_and_memory_are_compared_pair_by_pair(distance: Distance) -> None:
    rows, others = unit(9, 4, seed=0), unit(9, 4, seed=1)
    columns, column_labels = torch.cat([others, MEMORY[0]]), torch.cat([LABELS.roll(1), MEMORY[1]])
    pairs = [(a, b) for a in range(9) for b in range(14) if LABELS[a] >= 0 <= column_labels[b]]
    a, b = torch.tensor(pairs).T
    expected = margin_loss(rows[a], columns[b], LABELS[a] == column_labels[b], 0.9, distance)
    loss = batch_margin_loss(rows, LABELS, others, LABELS.roll(1), 0.9, distance, memory=MEMORY)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("mining", [*DETERMINISTIC, "random"])
def test_without_any_pair_the_loss_is_0_with_a_gradient_of_0(mining: Mining) -> None:
    for labels in (torch.full((4,), -1), torch.tensor([-1, -1, -1, 3])):
        loss, gradients = gradients_of(
            lambda rows, labels=labels: batch_margin_loss(rows, labels, mining=mining), [unit(4, 3, seed=0)]
        )
        assert loss == 0
        assert torch.equal(gradients[0], torch.zeros(4, 3))
    empty = torch.zeros(0, 3, requires_grad=True)
    batch_margin_loss(empty, torch.zeros(0).long(), mining=mining).backward()


@pytest.mark.parametrize("mining", DETERMINISTIC)
def test_invariant_to_a_joint_permutation_and_a_rotation(mining: Mining) -> None:
    rows, order = normal(9, 4, seed=0), torch.tensor([3, 8, 0, 6, 2, 7, 1, 5, 4])
    expected = batch_margin_loss(rows, LABELS, mining=mining)
    turn = torch.linalg.qr(normal(4, 4, seed=3)).Q
    torch.testing.assert_close(batch_margin_loss(rows[order] @ turn, LABELS[order], mining=mining), expected)


@pytest.mark.parametrize("mining", DETERMINISTIC)
def test_shares_of_a_batch_add_up_and_gradients_are_right(mining: Mining) -> None:
    def loss(rows: Tensor, labels: Tensor, across: Across | None = None) -> Tensor:
        return batch_margin_loss(rows, labels, margin=1.3, mining=mining, across=across, memory=MEMORY)

    assert_shares_add_up(loss, unit(9, 4, seed=0), LABELS)
    assert_gradient_is_right(lambda rows: loss(rows, LABELS), unit(9, 4, seed=0))
    assert_precision_is_kept(
        lambda rows: batch_margin_loss(rows, LABELS, margin=1.3, mining=mining), unit(9, 4, seed=0)
    )


def test_shares_of_given_pairs_add_up_and_their_gradients_and_precision_are_right() -> None:
    x1, x2 = unit(9, 4, seed=0), unit(9, 4, seed=1)
    assert_shares_add_up(lambda x1, x2, y, across: margin_loss(x1, x2, y, 1.5, across=across), x1, x2, SIMILAR)
    assert_gradient_is_right(lambda x1, x2: margin_loss(x1, x2, SIMILAR, 1.5), x1, x2)
    assert_precision_is_kept(lambda x1, x2: margin_loss(x1, x2, SIMILAR, 1.5), x1, x2)
