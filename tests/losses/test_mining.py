from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmcl.losses.across import Alone
from mmcl.losses.mining import (
    Comparison,
    check_mining,
    compare,
    hard_triplets,
    hinge_over_triplets,
    mined_pairs,
    random_triplets,
)
from tests.losses.checks import normal

LABELS = torch.tensor([0, 1, 0, -1, 1, 0])


def of_one_anchor(positives: list[float], negatives: list[float]) -> Comparison:
    distances = torch.tensor([[*positives, *negatives]], dtype=torch.float64)
    is_positive = torch.tensor([[True] * len(positives) + [False] * len(negatives)])
    return Comparison(distances, is_positive, ~is_positive)


def of_batch(seed: int = 0, labels: Tensor = LABELS) -> Comparison:
    rows = normal(len(labels), 3, seed=seed)
    return compare(rows, labels, None, None, "euclidean", Alone(len(labels)), None)


def test_a_row_meets_all_labelled_rows_but_itself() -> None:
    compared = of_batch()
    assert compared.positives[0].tolist() == [False, False, True, False, False, True]
    assert compared.negatives[0].tolist() == [False, True, False, False, True, False]
    assert not compared.positives.diagonal().any()


def test_an_unlabelled_row_is_neither_positive_nor_negative_of_anything() -> None:
    compared = of_batch()
    assert not (compared.positives | compared.negatives)[3].any()
    assert not (compared.positives | compared.negatives)[:, 3].any()


def test_candidates_of_another_view_include_the_anchors_own_row() -> None:
    rows, others = normal(3, 2, seed=0), normal(3, 2, seed=1)
    labels = torch.tensor([0, 1, -1])
    compared = compare(rows, labels, others, labels, "euclidean", Alone(3), None)
    assert compared.positives.tolist() == [[True, False, False], [False, True, False], [False] * 3]
    assert compared.negatives.tolist() == [[False, True, False], [True, False, False], [False] * 3]


def test_the_memory_adds_columns_without_gradient() -> None:
    rows, memory = normal(2, 3, seed=0), normal(2, 3, seed=1).requires_grad_()
    compared = compare(
        rows.requires_grad_(), torch.tensor([0, 1]), None, None, "cosine", Alone(2), (memory, torch.tensor([1, -1]))
    )
    assert compared.positives.tolist() == [[False] * 4, [False, False, True, False]]
    assert compared.negatives.tolist() == [[False, True, True, False], [True, False, False, False]]
    compared.distances.sum().backward()
    assert memory.grad is None


GROUPS = torch.tensor([7, 7, 3, 7, 4, 4])


def test_rows_of_one_group_are_no_negatives_whatever_their_labels() -> None:
    rows = normal(6, 3, seed=0)
    compared = compare(rows, LABELS, None, None, "euclidean", Alone(6), None, GROUPS)
    plain = of_batch()
    assert torch.equal(compared.positives, plain.positives)
    # 0 and 1 are of one group and of two labels, as 4 and 5 are; 0 and 5 are of one label and of two groups.
    lost = (plain.negatives & ~compared.negatives).nonzero().tolist()
    assert lost == [[0, 1], [1, 0], [4, 5], [5, 4]]
    assert not (compared.negatives & ~plain.negatives).any()


@pytest.mark.parametrize("memory_groups", [None, torch.tensor([7, 3])])
def test_groups_reach_into_the_memory_and_to_other_views(memory_groups: Tensor | None) -> None:
    rows, labels, past = normal(2, 3, seed=0), torch.tensor([0, 1]), (normal(2, 3, seed=1), torch.tensor([1, 1]))
    groups = torch.tensor([7, 8])
    compared = compare(rows, labels, normal(2, 3, seed=2), labels, "cosine", Alone(2), past, groups, memory_groups)
    assert compared.positives.tolist() == [[True, False, False, False], [False, True, True, True]]
    is_negative = memory_groups is None
    assert compared.negatives.tolist() == [[False, True, is_negative, True], [True, False, False, False]]


def test_candidates_without_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="both or neither"):
        compare(torch.ones(1, 2), torch.ones(1).long(), torch.ones(1, 2), None, "cosine", Alone(1), None)


def test_hard_takes_the_farthest_positive_and_the_nearest_negative() -> None:
    chosen = hard_triplets(of_one_anchor([0.3, 0.9, 0.5], [1.1, 0.2, 0.7]))
    assert (chosen.positives.tolist(), chosen.negatives.tolist()) == ([1], [4])


def test_an_anchor_without_positive_or_negative_has_no_triplet() -> None:
    for compared in (of_one_anchor([0.3], []), of_one_anchor([], [0.3])):
        assert len(hard_triplets(compared).anchors) == 0
        assert len(random_triplets(compared).anchors) == 0
        assert [float(value) for value in hinge_over_triplets(compared, 1.0, semi_hard=False)] == [0, 0]


def test_semi_hard_negatives_are_farther_than_the_positive_and_inside_the_margin() -> None:
    # Of the negatives 0.4 is too near, 0.6 and 0.65 are semi-hard, 0.8 is outside: 0.5 + 0.2 - 0.6 and - 0.65.
    total, number = hinge_over_triplets(of_one_anchor([0.5], [0.8, 0.65, 0.4, 0.6]), 0.2, semi_hard=True)
    assert float(total) == pytest.approx(0.1 + 0.05)
    assert int(number) == 2


def test_a_negative_as_near_as_the_positive_is_not_semi_hard() -> None:
    _, number = hinge_over_triplets(of_one_anchor([0.5], [0.5]), 0.2, semi_hard=True)
    assert int(number) == 0


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0, -0.1])
@pytest.mark.parametrize("semi_hard", [False, True])
def test_sums_by_sorting_are_those_of_loops(margin: float, semi_hard: bool) -> None:
    compared = of_batch(labels=torch.tensor([0, 1, 0, -1, 1, 0, 2, 2, 2, 0, 1, 5]))
    expected, expected_number = 0.0, 0
    for row in range(12):
        for p in compared.positives[row].nonzero().flatten().tolist():
            for n in compared.negatives[row].nonzero().flatten().tolist():
                far, near = float(compared.distances[row, p]), float(compared.distances[row, n])
                if not semi_hard or far < near < far + margin:
                    expected += max(0.0, far - near + margin)
                    expected_number += 1
    total, number = hinge_over_triplets(compared, margin, semi_hard=semi_hard)
    assert float(total) == pytest.approx(expected, rel=1e-12)
    assert int(number) == expected_number


def test_sums_over_many_negatives_keep_the_digits_of_float32() -> None:
    distances = torch.cat([torch.tensor([999.6]), torch.full((20_000,), 1000.1)])[None]
    is_positive = torch.zeros(1, 20_001, dtype=torch.bool)
    is_positive[0, 0] = True
    compared = Comparison(distances, is_positive, ~is_positive)
    total, _ = hinge_over_triplets(compared, 0.75, semi_hard=False)
    each = float(distances[0, 0] + 0.75) - float(distances[0, 1])
    assert float(total) == pytest.approx(20_000 * each, rel=1e-6)


def test_random_draws_each_negative_of_the_anchor_equally_often_and_nothing_else() -> None:
    compared = of_one_anchor([0.1] * 3000, [0.2, 0.3, 0.4])
    chosen = random_triplets(compared, torch.Generator().manual_seed(0))
    assert chosen.positives.tolist() == list(range(3000))
    counts = torch.bincount(chosen.negatives - 3000)
    assert len(counts) == 3
    assert counts.min() > 900


def test_random_draws_of_a_batch_are_negatives_of_their_anchors() -> None:
    compared = of_batch()
    chosen = random_triplets(compared, torch.Generator().manual_seed(0))
    assert len(chosen.anchors) == int(compared.positives.sum()) == 8
    assert compared.positives[chosen.anchors, chosen.positives].all()
    assert compared.negatives[chosen.anchors, chosen.negatives].all()


def test_random_draws_are_a_function_of_the_generator() -> None:
    compared = of_one_anchor([0.1] * 50, [0.2, 0.3, 0.4])
    first, same, other = (random_triplets(compared, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.negatives, same.negatives)
    assert not torch.equal(first.negatives, other.negatives)
    torch.manual_seed(1)
    assert torch.equal(random_triplets(compared).negatives, first.negatives)


def test_mined_pairs_by_hand() -> None:
    compared = of_one_anchor([0.5, 0.7], [0.4, 0.6, 0.9, 1.2])
    every = ([1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1])
    semi_hard = ([1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0])
    hard = ([0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0])
    for mining, expected in (("all", every), ("semi_hard", semi_hard), ("hard", hard)):
        similar, dissimilar = mined_pairs(compared, mining, 1.0)
        assert (similar[0].tolist(), dissimilar[0].tolist()) == expected
    similar, dissimilar = mined_pairs(compared, "random", 1.0)
    assert similar[0].tolist() == every[0]
    assert dissimilar[0, :2].tolist() == [0, 0]
    assert dissimilar.sum() == 2


def test_an_unknown_mining_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of all, random, semi_hard, hard, got 'easy'"):
        check_mining("easy")
