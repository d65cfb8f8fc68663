from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmcl.losses.distances import Distance, distance_matrix, paired_distances
from tests.losses.checks import assert_gradient_is_right, gradients_of, normal

ALL: list[Distance] = ["euclidean", "sq_euclidean", "cosine"]


@pytest.mark.parametrize(("distance", "expected"), [("euclidean", 5.0), ("sq_euclidean", 25.0), ("cosine", 0.4)])
def test_one_pair_by_hand(distance: Distance, expected: float) -> None:
    x = torch.tensor([[3.0, 0.0]]) if distance != "cosine" else torch.tensor([[2.0, 0.0]])
    y = torch.tensor([[0.0, 4.0]]) if distance != "cosine" else torch.tensor([[3.0, 4.0]])
    assert float(paired_distances(x, y, distance)) == pytest.approx(expected, rel=1e-6)
    assert float(distance_matrix(x, y, distance)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("distance", ALL)
def test_the_matrix_holds_the_distances_of_all_pairs(distance: Distance) -> None:
    x, y = normal(4, 3, seed=0), normal(5, 3, seed=1)
    pairs = [paired_distances(x, row.expand(4, 3), distance) for row in y]
    torch.testing.assert_close(distance_matrix(x, y, distance), torch.stack(pairs, dim=1))


@pytest.mark.parametrize("distance", ALL)
def test_gradients_match_finite_differences(distance: Distance) -> None:
    x, y = normal(4, 3, seed=0), normal(5, 3, seed=1)
    assert_gradient_is_right(lambda x, y: distance_matrix(x, y, distance), x, y)
    assert_gradient_is_right(lambda x, y: paired_distances(x, y, distance), x, y[:4])


@pytest.mark.parametrize("distance", ["euclidean", "sq_euclidean"])
def test_equal_rows_are_at_distance_0_with_gradient_0(distance: Distance) -> None:
    x = normal(3, 64, seed=0).float()

    def of_itself(x: Tensor) -> Tensor:
        return distance_matrix(x, x.detach().clone(), distance).diagonal().sum()

    def of_pairs(x: Tensor) -> Tensor:
        return paired_distances(x, x.detach().clone(), distance).sum()

    for function in (of_itself, of_pairs):
        value, gradients = gradients_of(function, [x])
        assert value == 0
        assert torch.equal(gradients[0], torch.zeros(3, 64))


def test_near_rows_keep_their_digits() -> None:
    x = normal(1, 64, seed=0).float()
    y = x + 1e-4
    expected = (x.double() - y.double()).norm()
    assert float(distance_matrix(x, y)) == pytest.approx(float(expected), rel=1e-6)


def test_backward_under_autocast_is_in_float32() -> None:
    x, y = normal(4, 8, seed=0).float(), normal(5, 8, seed=1).float()
    _, (expected, _) = gradients_of(lambda x, y: distance_matrix(x, y).sum(), [x, y])
    leaf = x.clone().requires_grad_()
    distances = distance_matrix(leaf, y).sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distances.backward()
    torch.testing.assert_close(leaf.grad, expected)


def test_an_unknown_distance_is_refused() -> None:
    for function in (paired_distances, distance_matrix):
        with pytest.raises(ValueError, match="must be one of euclidean, sq_euclidean, cosine, got 'dot'"):
            function(torch.ones(1, 2), torch.ones(1, 2), "dot")
