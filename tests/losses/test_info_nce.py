from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.losses.across import Across
from mmcl.losses.info_nce import SIMILARITIES, Similarity, info_nce_loss
from tests.losses.checks import (
    assert_gradient_is_right,
    assert_precision_is_kept,
    assert_shares_add_up,
    gradients_of,
    normal,
    unit,
)

pytestmark = pytest.mark.usefixtures("engine")

GROUPS = torch.tensor([0, 1, 1, 2, 3, 3, 0, 4])
MEMORY = (normal(4, 3, seed=90), torch.tensor([3, 20, 0, 21]))


def similarities(queries: Tensor, keys: Tensor, similarity: str) -> Tensor:
    if similarity == "cosine":
        return F.cosine_similarity(queries[:, None], keys, dim=2)
    if similarity == "dot":
        return queries @ keys.T
    distances = (queries[:, None] - keys).norm(dim=2)
    return -distances if similarity == "neg_euclidean" else -(distances**2)


def test_two_queries_by_hand() -> None:
    queries, keys = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Scores are [[2, 1.2], [0, 1.6]].
    expected = (math.log(math.exp(2) + math.exp(1.2)) - 2 + math.log(1 + math.exp(1.6)) - 1.6) / 2
    assert float(info_nce_loss(queries, keys, 2.0)) == pytest.approx(expected, rel=1e-6)
    # Cosines do not see lengths, dot products do: [[6, 3.6], [0, 1.6]].
    queries[0] *= 3
    assert float(info_nce_loss(queries, keys, 2.0)) == pytest.approx(expected, rel=1e-6)
    longer = (math.log(math.exp(6) + math.exp(3.6)) - 6 + math.log(1 + math.exp(1.6)) - 1.6) / 2
    assert float(info_nce_loss(queries, keys, 2.0, similarity="dot")) == pytest.approx(longer, rel=1e-6)


def test_distances_by_hand() -> None:
    queries, keys = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 1.0], [3.0, 0.0]])
    # Distances are [[1, 3], [sqrt(18), 4]].
    far = math.sqrt(18)
    plain = (math.log(math.exp(-1) + math.exp(-3)) + 1 + math.log(math.exp(-far) + math.exp(-4)) + 4) / 2
    assert float(info_nce_loss(queries, keys, 1.0, similarity="neg_euclidean")) == pytest.approx(plain, rel=1e-6)
    squared = (math.log(math.exp(-1) + math.exp(-9)) + 1 + math.log(math.exp(-18) + math.exp(-16)) + 16) / 2
    assert float(info_nce_loss(queries, keys, 1.0, similarity="neg_sq_euclidean")) == pytest.approx(squared, rel=1e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_it_is_cross_entropy_against_the_diagonal(similarity: Similarity) -> None:
    def reference(queries: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
        return F.cross_entropy(scale * similarities(queries, keys, similarity), torch.arange(8))

    inputs = (normal(8, 3, seed=0), normal(8, 3, seed=1), torch.tensor(2.5).double())
    torch.testing.assert_close(
        gradients_of(lambda q, k, s: info_nce_loss(q, k, s, similarity=similarity), inputs),
        gradients_of(reference, inputs),
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_groups_and_memory_follow_l_out(similarity: Similarity) -> None:
    queries, keys = normal(8, 3, seed=2), normal(8, 3, seed=3)
    scores = 1.5 * similarities(queries, torch.cat([keys, MEMORY[0]]), similarity)
    losses = []
    for i in range(8):
        kept = [float(scores[i, j]) for j in range(12) if j < 8 or MEMORY[1][j - 8] != GROUPS[i]]
        positives = [float(scores[i, j]) for j in range(8) if GROUPS[i] == GROUPS[j]]
        losses.append(math.log(sum(map(math.exp, kept))) - sum(positives) / len(positives))
    loss = info_nce_loss(queries, keys, 1.5, GROUPS, similarity=similarity, memory=MEMORY)
    assert float(loss) == pytest.approx(sum(losses) / 8, rel=1e-9)


def test_one_direction_is_not_the_other() -> None:
    queries, keys = unit(8, 3, seed=4), unit(8, 3, seed=5)
    assert float(info_nce_loss(queries, keys, 5.0)) != pytest.approx(float(info_nce_loss(keys, queries, 5.0)), rel=1e-3)


@pytest.mark.parametrize("similarity", ["neg_euclidean", "neg_sq_euclidean"])
def test_distances_do_not_change_when_everything_moves(similarity: Similarity) -> None:
    queries, keys, far = unit(8, 3, seed=6), unit(8, 3, seed=7), torch.tensor([30.0, -40.0, 50.0])
    here = info_nce_loss(queries, keys, 5.0, similarity=similarity)
    torch.testing.assert_close(info_nce_loss(queries + far, keys + far, 5.0, similarity=similarity), here)
    there = info_nce_loss((queries + far).float(), (keys + far).float(), 5.0, similarity=similarity)
    torch.testing.assert_close(there.double(), here, rtol=1e-4, atol=0)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_invariant_to_a_joint_permutation_of_the_rows(similarity: Similarity) -> None:
    queries, keys, order = normal(8, 3, seed=8), normal(8, 3, seed=9), torch.tensor([3, 1, 0, 7, 6, 2, 5, 4])
    torch.testing.assert_close(
        info_nce_loss(queries, keys, 2.0, GROUPS, similarity=similarity),
        info_nce_loss(queries[order], keys[order], 2.0, GROUPS[order], similarity=similarity),
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("has_groups", [False, True])
def test_shares_of_processes_add_up_with_their_gradients(similarity: Similarity, has_groups: bool) -> None:
    def loss(queries: Tensor, keys: Tensor, ids: Tensor, across: Across | None) -> Tensor:
        groups = ids if has_groups else None
        return info_nce_loss(queries, keys, 3.0, groups, similarity=similarity, across=across, memory=MEMORY)

    assert_shares_add_up(loss, normal(8, 3, seed=10), normal(8, 3, seed=11), GROUPS)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_low_precision_inputs_and_autocast_lose_nothing(similarity: Similarity) -> None:
    assert_precision_is_kept(
        lambda queries, keys, ids: info_nce_loss(queries, keys, 14.0, ids, similarity=similarity),
        unit(8, 16, seed=12),
        unit(8, 16, seed=13),
        GROUPS,
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradient_matches_finite_differences(similarity: Similarity) -> None:
    assert_gradient_is_right(
        lambda q, k, s: info_nce_loss(q, k, s, GROUPS[:6], similarity=similarity, memory=MEMORY),
        normal(6, 3, seed=14),
        normal(6, 3, seed=15),
        torch.tensor(2.0, dtype=torch.float64),
    )


def test_a_large_scale_does_not_overflow() -> None:
    assert float(info_nce_loss(torch.eye(3), torch.eye(3), 1e4)) == 0.0


def test_an_unknown_similarity_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"similarity must be one of cosine, .* got 'l2'"):
        info_nce_loss(torch.eye(2), torch.eye(2), 1.0, similarity="l2")  # type: ignore[arg-type]
