from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.distances import Distance
from mmcl.losses.mining import Mining
from mmcl.losses.triplet import batch_triplet_loss, triplet_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    normal,
    unit,
)

LABELS = torch.tensor([0, 1, 0, -1, 1, 0, 2, 1, 2])
GROUPS = torch.tensor([0, 0, 1, 1, 2, 3, 3, 4, 0])
MEMORY = (unit(5, 4, seed=9), torch.tensor([1, 7, -1, 0, 2]))
DISTANCES: list[Distance] = ["euclidean", "sq_euclidean", "cosine"]
DETERMINISTIC: list[Mining] = ["all", "semi_hard", "hard"]


def test_two_triplets_by_hand() -> None:
    anchors = torch.zeros(2, 2)
    positives, negatives = torch.tensor([[0.0, 1.0], [0.3, 0.4]]), torch.tensor([[0.6, 0.8], [2.0, 0.0]])
    # Distances are 1 and 1, and 0.5 and 2: 0.2 and nothing. The mean keeps the triplet of loss 0.
    assert float(triplet_loss(anchors, positives, negatives)) == pytest.approx(0.1, rel=1e-6)
    assert float(triplet_loss(anchors, positives, negatives, 2.0)) == pytest.approx((2 + 0.5) / 2, rel=1e-6)
    squared = triplet_loss(anchors, positives, negatives, 4.0, "sq_euclidean")
    assert float(squared) == pytest.approx((4 + 0.25) / 2, rel=1e-6)


def test_equals_torchs_where_torch_adds_no_epsilon() -> None:
    a, p, n = (unit(9, 4, seed=seed) for seed in range(3))
    torch.testing.assert_close(triplet_loss(a, p, n, 0.5), F.triplet_margin_loss(a, p, n, margin=0.5, eps=0.0))


def test_cosine_distance_is_half_the_squared_one_of_unit_rows() -> None:
    a, p, n = (unit(9, 4, seed=seed) for seed in range(3))
    halves = triplet_loss(a, p, n, 0.4, "sq_euclidean") / 2
    torch.testing.assert_close(triplet_loss(2 * a, 3 * p, 0.5 * n, 0.2, "cosine"), halves)


def test_an_anchor_on_its_positive_has_a_gradient() -> None:
    a, n = normal(2, 3, seed=0), normal(2, 3, seed=1)
    _, gradients = gradients_of(lambda a, p, n: triplet_loss(a, p, n, 9.0), [a, a, n])
    assert all(gradient.isfinite().all() for gradient in gradients)
    _, gradients = gradients_of(
        lambda rows: batch_triplet_loss(rows, torch.tensor([0, 0, 1, 1]), margin=9.0), [torch.cat([a[:1], a[:1], n])]
    )
    assert gradients[0].isfinite().all()
    assert gradients[0].abs().sum() > 0


def every_triplet(labels: Tensor, candidate_labels: Tensor, *, meets_itself: bool) -> list[tuple[int, int, int]]:
    return [
        (a, p, n)
        for a in range(len(labels))
        for p in range(len(candidate_labels))
        for n in range(len(candidate_labels))
        if labels[a] == candidate_labels[p] >= 0
        and (meets_itself or p != a)
        and labels[a] != candidate_labels[n]
        and candidate_labels[n] >= 0
    ]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("with_memory", [False, True])
def test_all_is_the_mean_over_every_triplet_of_the_batch(
    distance: Distance, two_sided: bool, with_memory: bool
) -> None:
    rows, others = normal(9, 4, seed=0), normal(9, 4, seed=1)
    other_labels = LABELS.roll(1) if two_sided else LABELS
    candidates = others if two_sided else rows
    columns = torch.cat([candidates, MEMORY[0]]) if with_memory else candidates
    column_labels = torch.cat([other_labels, MEMORY[1]]) if with_memory else other_labels
    a, p, n = (
        torch.tensor(index) for index in zip(*every_triplet(LABELS, column_labels, meets_itself=two_sided), strict=True)
    )
    expected = triplet_loss(rows[a], columns[p], columns[n], 0.3, distance)
    loss = batch_triplet_loss(
        rows,
        LABELS,
        others if two_sided else None,
        other_labels if two_sided else None,
        0.3,
        distance,
        memory=MEMORY if with_memory else None,
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("mining", DETERMINISTIC)
def test_equals_pytorch_metric_learnings_miners_with_a_mean_over_all(mining: Mining) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    miners = pytest.importorskip("pytorch_metric_learning.miners")
    reducers = pytest.importorskip("pytorch_metric_learning.reducers")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    labels = torch.tensor([0, 1, 0, 3, 1, 0, 2, 1, 2, 3])
    rows, euclidean = unit(10, 4, seed=3), distances.LpDistance(normalize_embeddings=False)
    theirs = losses.TripletMarginLoss(margin=0.4, distance=euclidean, reducer=reducers.MeanReducer())
    chosen = {
        "all": None,
        "semi_hard": miners.TripletMarginMiner(0.4, "semihard", distance=euclidean),
        "hard": miners.BatchHardMiner(distance=euclidean),
    }[mining]
    expected = theirs(rows, labels, chosen(rows, labels) if chosen else None)
    torch.testing.assert_close(batch_triplet_loss(rows, labels, margin=0.4, mining=mining), expected)
    if mining == "all":
        # As it comes, it averages over the triplets that cost something, which is another loss.
        nonzero = losses.TripletMarginLoss(margin=0.4, distance=euclidean)(rows, labels)
        assert abs(float(nonzero - expected)) > 0.05


def test_hard_by_hand() -> None:
    # On a line: 0 and 1 of label 0, 0.9 and 3 of label 1. Farthest positives less nearest negatives:
    # 1 - 0.9, 1 - 0.1, 2.1 - 0.1, 2.1 - 2.
    rows = torch.tensor([[0.0], [1.0], [0.9], [3.0]])
    loss = batch_triplet_loss(rows, torch.tensor([0, 0, 1, 1]), mining="hard", margin=0.2)
    assert float(loss) == pytest.approx((0.3 + 1.1 + 2.2 + 0.3) / 4, rel=1e-5)


@pytest.mark.parametrize(("mining", "expected"), [("hard", (1.1 + 2.2 + 0.3) / 4), ("all", (1.1 + 2.2 + 0.3) / 6)])
def test_rows_of_one_group_but_two_labels_by_hand(mining: Mining, expected: float) -> None:
    # As above, and the first and the third row are of one group, which takes a triplet from each of the two: 1 - 0.9,
    # the hardest of the first, and 2.1 - 0.9 of the third. What is left of the first costs nothing: 1 - 3.
    rows, labels = torch.tensor([[0.0], [1.0], [0.9], [3.0]]), torch.tensor([0, 0, 1, 1])
    loss = batch_triplet_loss(rows, labels, mining=mining, margin=0.2, group_ids=torch.tensor([5, 6, 5, 7]))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_past_rows_of_an_anchors_group_by_hand() -> None:
    # At 0 and 1 two rows of label 0, in the memory at 0.5 and 2 two of label 1, the first of the first one's group.
    # Left are 1 - 2 of the first row, 1 - 0.5 and 1 - 1 of the second.
    memory = (torch.tensor([[0.5], [2.0]]), torch.tensor([1, 1]))
    rows, labels, groups = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 0]), torch.tensor([5, 6])
    loss = batch_triplet_loss(
        rows, labels, margin=0.2, memory=memory, group_ids=groups, memory_group_ids=torch.tensor([5, 8])
    )
    assert float(loss) == pytest.approx((0 + 0.7 + 0.2) / 3, rel=1e-5)


def test_random_is_a_mean_over_pairs_and_on_average_that_over_each_pairs_negatives() -> None:
    rows = unit(9, 4, seed=0)
    generator = torch.Generator().manual_seed(0)
    draws = [float(batch_triplet_loss(rows, LABELS, mining="random", generator=generator)) for _ in range(400)]
    every = torch.tensor(every_triplet(LABELS, LABELS, meets_itself=False))
    pairs = {}
    for a, p, n in every.tolist():
        pairs.setdefault((a, p), []).append(float(triplet_loss(rows[[a]], rows[[p]], rows[[n]])))
    expected = sum(sum(losses) / len(losses) for losses in pairs.values()) / len(pairs)
    assert sum(draws) / 400 == pytest.approx(expected, rel=0.03)
    assert len(set(draws)) > 10


@pytest.mark.parametrize("mining", [*DETERMINISTIC, "random"])
def test_without_any_triplet_the_loss_is_0_with_a_gradient_of_0(mining: Mining) -> None:
    for labels in (torch.full((4,), -1), torch.zeros(4).long(), torch.arange(4)):
        loss, gradients = gradients_of(
            lambda rows, labels=labels: batch_triplet_loss(rows, labels, mining=mining), [unit(4, 3, seed=0)]
        )
        assert loss == 0
        assert torch.equal(gradients[0], torch.zeros(4, 3))
    empty = torch.zeros(0, 3, requires_grad=True)
    batch_triplet_loss(empty, torch.zeros(0).long(), mining=mining).backward()


@pytest.mark.parametrize("mining", DETERMINISTIC)
def test_invariant_to_a_joint_permutation_a_rotation_and_other_names_of_the_labels(mining: Mining) -> None:
    rows, order = normal(9, 4, seed=0), torch.tensor([3, 8, 0, 6, 2, 7, 1, 5, 4])
    expected = batch_triplet_loss(rows, LABELS, mining=mining)
    turn = torch.linalg.qr(normal(4, 4, seed=3)).Q
    names = torch.where(LABELS >= 0, 40 - LABELS, -1)
    torch.testing.assert_close(batch_triplet_loss(rows[order] @ turn, names[order], mining=mining), expected)


def test_unlabelled_rows_change_nothing() -> None:
    rows = normal(9, 4, seed=0)
    labelled = LABELS >= 0
    expected = batch_triplet_loss(rows[labelled], LABELS[labelled])
    torch.testing.assert_close(batch_triplet_loss(rows, LABELS), expected)


@pytest.mark.parametrize("mining", DETERMINISTIC)
@pytest.mark.parametrize("distance", DISTANCES)
def test_shares_add_up_and_gradients_are_right(mining: Mining, distance: Distance) -> None:
    rows, others = unit(9, 4, seed=0), unit(9, 4, seed=1)

    def one_sided(rows: Tensor, labels: Tensor, groups: Tensor, across: Across | None = None) -> Tensor:
        return batch_triplet_loss(
            rows,
            labels,
            margin=0.5,
            distance=distance,
            mining=mining,
            across=across,
            memory=MEMORY,
            group_ids=groups,
            memory_group_ids=torch.arange(5),
        )

    def two_sided(rows: Tensor, others: Tensor, labels: Tensor, groups: Tensor, across: Across | None = None) -> Tensor:
        return batch_triplet_loss(
            rows, labels, others, labels, 0.5, distance, mining=mining, across=across, group_ids=groups
        )

    assert_shares_add_up(one_sided, rows, LABELS, GROUPS)
    assert_shares_add_up(two_sided, rows, others, LABELS, GROUPS)
    assert_gradient_is_right(lambda rows: one_sided(rows, LABELS, GROUPS), rows)
    assert_gradient_is_right(lambda rows, others: two_sided(rows, others, LABELS, GROUPS), rows, others)


def test_shares_of_given_triplets_add_up_and_their_gradients_and_precision_are_right() -> None:
    triplets = [unit(9, 4, seed=seed) for seed in range(3)]
    assert_shares_add_up(triplet_loss, *triplets)
    assert_gradient_is_right(triplet_loss, *triplets)
    for distance in DISTANCES:
        assert_precision_is_kept(lambda a, p, n, d=distance: triplet_loss(a, p, n, 2.0, d), *triplets)
        assert_precision_is_kept(
            lambda rows, d=distance: batch_triplet_loss(rows, LABELS, margin=2.0, distance=d), triplets[0]
        )
