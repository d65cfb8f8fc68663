"""Small exact cases, plain loops, and what each number says of a collapsed representation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from evaluation import EvaluationError
from evaluation.metrics import alignment, effective_rank, modality_gap, spread, uniformity


def normal(num_rows: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, width))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_alignment_of_equal_orthogonal_and_opposite_rows() -> None:
    east, north = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert alignment(east, 5 * east) == 0
    assert alignment(east, north) == pytest.approx(2)
    assert alignment(east, -east) == pytest.approx(4)
    assert alignment(east, -east, alpha=1) == pytest.approx(2)
    assert alignment(np.vstack([east, east]), np.vstack([east, north])) == pytest.approx(1)


def test_alignment_is_the_mean_squared_distance_of_positives() -> None:
    x, y = normal(20, 5), normal(20, 5, seed=1)
    distances = [sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in zip(unit(x), unit(y), strict=True)]
    assert alignment(x, y) == pytest.approx(sum(distances) / 20)


def test_uniformity_of_two_rows_is_minus_twice_their_squared_distance() -> None:
    assert uniformity(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(-4)
    assert uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]]), t=1) == pytest.approx(-4)


@pytest.mark.parametrize("max_elements", [1, 100, 2**20])
def test_uniformity_is_over_distinct_pairs(max_elements: int) -> None:
    rows = normal(40, 6)
    expected = math.log(np.exp(-2 * pdist(unit(rows), "sqeuclidean")).mean())
    assert uniformity(rows, max_elements=max_elements) == pytest.approx(expected, rel=1e-12)


def test_uniformity_of_rows_that_are_all_one_is_zero_and_of_many_dimensions_nears_minus_four() -> None:
    assert uniformity(np.ones((10, 3))) == pytest.approx(0, abs=1e-12)
    assert uniformity(normal(300, 500)) == pytest.approx(-4, abs=0.05)


def test_the_modality_gap_is_the_distance_of_the_means() -> None:
    images, texts = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0]])
    assert modality_gap(images, texts) == pytest.approx(math.hypot(0.5, 0.5))
    assert modality_gap(texts, -texts) == pytest.approx(2)
    assert modality_gap(images, images[::-1]) == 0


def test_spread_of_the_axes_worked_by_hand() -> None:
    """In D dimensions each of the D axes gives a population standard deviation of sqrt(1/D - 1/D^2)."""
    assert spread(np.eye(4)) == pytest.approx(2 * math.sqrt(1 / 4 - 1 / 16))
    assert spread(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(math.sqrt(2) / 2)


def test_spread_is_one_on_the_sphere_and_zero_when_collapsed() -> None:
    assert spread(normal(4000, 64)) == pytest.approx(1, abs=0.01)
    assert spread(np.ones((10, 4))) == pytest.approx(0, abs=1e-12)


def test_effective_rank_of_known_singular_values() -> None:
    assert effective_rank(np.eye(5)) == pytest.approx(5)
    assert effective_rank(np.ones((7, 3))) == pytest.approx(1)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(math.exp(entropy))
    assert effective_rank(np.diag([3.0, 1.0, 0.0])) == pytest.approx(math.exp(entropy))


def test_effective_rank_is_neither_centred_nor_normalised() -> None:
    rows = normal(50, 6)
    singular = np.linalg.svd(rows)[1]
    shares = singular / singular.sum()
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(rows) == pytest.approx(expected)
    assert effective_rank(9 * rows) == pytest.approx(expected)
    assert effective_rank(rows - rows.mean(axis=0)) != pytest.approx(expected)
    assert effective_rank(unit(rows)) != pytest.approx(expected)
    assert effective_rank(1e6 + rows) == pytest.approx(1, abs=1e-3)


def test_no_number_depends_on_a_rotation_save_the_spread() -> None:
    x, y = normal(30, 5), normal(30, 5, seed=1)
    turn = np.linalg.qr(normal(5, 5, seed=2))[0]
    assert alignment(x @ turn, y @ turn) == pytest.approx(alignment(x, y))
    assert uniformity(x @ turn) == pytest.approx(uniformity(x))
    assert modality_gap(x @ turn, y @ turn) == pytest.approx(modality_gap(x, y))
    assert effective_rank(x @ turn) == pytest.approx(effective_rank(x))


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: alignment(np.ones((2, 3)), np.ones((3, 3))), r"got \(2, 3\) and \(3, 3\)"),
        (lambda: alignment(np.ones((0, 3)), np.ones((0, 3))), "as many rows on both sides"),
        (lambda: uniformity(np.ones((1, 3))), "uniformity needs at least two rows, got 1"),
        (lambda: spread(np.ones((1, 3))), "spread needs at least two rows, got 1"),
        (lambda: spread(np.array([[1.0, 2.0], [0.0, 0.0]])), "finite and not zero, .* first: row 1"),
        (lambda: uniformity(np.ones(3)), "must be a matrix"),
        (lambda: modality_gap(np.ones((2, 3)), np.ones((2, 4))), "rows of one space"),
        (lambda: effective_rank(np.zeros((2, 3))), "all zero is not defined"),
        (lambda: effective_rank(np.full((2, 3), np.nan)), "finite matrix"),
    ],
)
def test_what_has_no_value_is_refused(compute: object, message: str) -> None:
    assert callable(compute)
    with pytest.raises(EvaluationError, match=message):
        compute()
