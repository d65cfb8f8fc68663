from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.simcse import simcse_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    unit,
)

pytestmark = pytest.mark.usefixtures("engine")

GROUPS = torch.tensor([0, 1, 1, 2, 3, 3, 0, 4])
MEMORY = (unit(4, 3, seed=90), torch.tensor([3, 20, 0, 21]))


def by_definition(
    anchors: Tensor, positives: Tensor, negatives: Tensor | None, groups: Tensor, weight: float, temperature: float
) -> float:
    """Anchor by anchor, term by term, the memory above included."""
    losses = []
    for i, anchor in enumerate(anchors):
        scores = [float(anchor @ key) / temperature for key in positives]
        total = sum(math.exp(s) for j, s in enumerate(scores) if j == i or groups[j] != groups[i])
        for j, keys in enumerate(negatives if negatives is not None else []):
            total += sum((weight if j == i else 1.0) * math.exp(float(anchor @ key) / temperature) for key in keys)
        for key, key_id in zip(*MEMORY, strict=True):
            total += math.exp(float(anchor @ key) / temperature) if key_id != groups[i] else 0.0
        losses.append(math.log(total) - scores[i])
    return sum(losses) / len(losses)


def test_one_pair_with_a_hard_negative_by_hand() -> None:
    anchor, positive, negative = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.6]]), torch.tensor([[[0.6, 0.8]]])
    # At T = 0.2 the scores are 4 and 3.
    assert float(simcse_loss(anchor, positive, negative, 0.2)) == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)
    weighted = simcse_loss(anchor, positive, negative, 0.2, hard_negative_weight=3.0)
    assert float(weighted) == pytest.approx(math.log(1 + 3 * math.exp(-1)), rel=1e-5)


def test_unsupervised_is_cross_entropy_in_one_direction_over_n_columns() -> None:
    first, second = unit(8, 5, seed=0), unit(8, 5, seed=1)

    def one_way(first: Tensor, second: Tensor) -> Tensor:
        return F.cross_entropy(first @ second.T / 0.05, torch.arange(8))

    torch.testing.assert_close(gradients_of(simcse_loss, (first, second)), gradients_of(one_way, (first, second)))
    assert float(simcse_loss(second, first)) != pytest.approx(float(simcse_loss(first, second)), rel=1e-2)
    symmetric = (one_way(first, second) + one_way(second, first)) / 2
    assert float(simcse_loss(first, second)) != pytest.approx(float(symmetric), rel=1e-2)


@pytest.mark.parametrize("alpha", [0.25, 1.0, 4.0])
def test_supervised_is_cross_entropy_over_positives_then_negatives(alpha: float) -> None:
    # As the authors' code: the weight's logarithm is added on the diagonal of the second block.
    def reference(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        logits = torch.cat([anchors @ positives.T, anchors @ negatives[:, 0].T], dim=1) / 0.05
        raised = torch.cat([torch.zeros(8, 8), math.log(alpha) * torch.eye(8)], dim=1)
        return F.cross_entropy(logits + raised, torch.arange(8))

    inputs = (unit(8, 5, seed=2), unit(8, 5, seed=3), unit(8, 1, 5, seed=4))
    torch.testing.assert_close(
        gradients_of(lambda a, p, n: simcse_loss(a, p, n, hard_negative_weight=alpha), inputs),
        gradients_of(reference, inputs),
    )


def test_equals_sentence_transformers_with_hard_negatives() -> None:
    package = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    anchors, positives, negatives = unit(8, 5, seed=2), unit(8, 5, seed=3), unit(8, 1, 5, seed=4)
    peer = package.MultipleNegativesRankingLoss(torch.nn.Sequential(torch.nn.Identity()), scale=20.0)
    expected = peer.compute_loss_from_embeddings([anchors, positives, negatives[:, 0]], None)
    torch.testing.assert_close(simcse_loss(anchors, positives, negatives, 0.05), expected)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("num_negatives", [0, 1, 3])
def test_follows_the_definition_with_groups_and_memory(weight: float, num_negatives: int) -> None:
    anchors, positives = unit(8, 3, seed=5), unit(8, 3, seed=6)
    negatives = unit(8, num_negatives, 3, seed=7) if num_negatives else None
    expected = by_definition(anchors, positives, negatives, GROUPS, weight, 0.2)
    loss = simcse_loss(anchors, positives, negatives, 0.2, GROUPS, hard_negative_weight=weight, memory=MEMORY)
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_invariant_to_a_joint_permutation_of_the_rows() -> None:
    rows, order = (unit(8, 3, seed=8), unit(8, 3, seed=9), unit(8, 2, 3, seed=10)), torch.randperm(8)
    torch.testing.assert_close(
        simcse_loss(*rows, 0.1, GROUPS), simcse_loss(*(row[order] for row in rows), 0.1, GROUPS[order])
    )


@pytest.mark.parametrize("has_groups", [False, True])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_shares_of_processes_add_up_with_their_gradients(has_groups: bool, weight: float) -> None:
    def loss(anchors: Tensor, positives: Tensor, negatives: Tensor, ids: Tensor, across: Across | None) -> Tensor:
        groups = ids if has_groups else None
        return simcse_loss(
            anchors, positives, negatives, 0.2, groups, hard_negative_weight=weight, across=across, memory=MEMORY
        )

    assert_shares_add_up(loss, unit(8, 3, seed=11), unit(8, 3, seed=12), unit(8, 2, 3, seed=13), GROUPS)


def test_low_precision_inputs_and_autocast_lose_nothing() -> None:
    assert_precision_is_kept(
        lambda a, p, n, ids: simcse_loss(a, p, n, 0.05, ids, hard_negative_weight=2.0),
        unit(8, 16, seed=14),
        unit(8, 16, seed=15),
        unit(8, 2, 16, seed=16),
        GROUPS,
    )


def test_gradient_matches_finite_differences() -> None:
    assert_gradient_is_right(
        lambda a, p, n: simcse_loss(a, p, n, 0.5, GROUPS[:5], hard_negative_weight=0.7, memory=MEMORY),
        unit(5, 3, seed=17),
        unit(5, 3, seed=18),
        unit(5, 2, 3, seed=19),
    )


def test_a_negative_weight_is_an_error() -> None:
    with pytest.raises(ValueError, match="hard_negative_weight must be >= 0, got -1"):
        simcse_loss(torch.eye(2), torch.eye(2), hard_negative_weight=-1)
