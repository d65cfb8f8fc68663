"""The vote of the nearest, against scikit-learn and against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from evaluation import EvaluationError
from evaluation.metrics import knn_predictions


def clusters(num_rows: int, seed: int, num_classes: int = 4, noise: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).normal(size=(num_classes, 6))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, size=num_rows)
    return centres[labels] + noise * rng.normal(size=(num_rows, 6)), labels


def test_votes_counted_by_hand() -> None:
    """Cosines 1, 0.6 and 0.6: at 0.07 the nearest outweighs two others by exp(0.4 / 0.07) / 2, at 10 it does not."""
    train = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    labels, test = np.array([0, 1, 1]), np.array([[1.0, 0.0]])
    assert knn_predictions(train, labels, test, 2, k=3).tolist() == [0]
    assert knn_predictions(train, labels, test, 2, k=3, temperature=10.0).tolist() == [1]
    # exp(0.4 / T) = 2 is where they are equal
    just_above, just_below = 0.4 / np.log(2) * 1.001, 0.4 / np.log(2) * 0.999
    assert knn_predictions(train, labels, test, 2, k=3, temperature=just_above).tolist() == [1]
    assert knn_predictions(train, labels, test, 2, k=3, temperature=just_below).tolist() == [0]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.07), (20, 0.5)])
def test_predictions_are_those_of_scikit_learn(k: int, temperature: float) -> None:
    train, labels = clusters(150, seed=0)
    test, _ = clusters(60, seed=1)
    reference = KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d) / temperature), metric="cosine")
    expected = reference.fit(train, labels).predict(test)
    assert knn_predictions(train, labels, test, 4, k=k, temperature=temperature).tolist() == expected.tolist()


def test_predictions_do_not_depend_on_the_size_of_a_block_nor_on_the_norms() -> None:
    train, labels = clusters(150, seed=0)
    test, _ = clusters(60, seed=1)
    expected = knn_predictions(train, labels, test, 4)
    assert knn_predictions(train, labels, test, 4, max_elements=1000).tolist() == expected.tolist()
    assert knn_predictions(3 * train, labels, test / 7, 4).tolist() == expected.tolist()


def test_predictions_do_not_depend_on_the_order_of_the_training_rows() -> None:
    train, labels = clusters(150, seed=0)
    test, _ = clusters(60, seed=1)
    order = np.random.default_rng(2).permutation(150)
    expected = knn_predictions(train, labels, test, 4).tolist()
    assert knn_predictions(train[order], labels[order], test, 4).tolist() == expected


def test_k_is_clamped_to_the_training_rows() -> None:
    train, labels = clusters(7, seed=0)
    test, _ = clusters(20, seed=1)
    expected = knn_predictions(train, labels, test, 4, k=7).tolist()
    assert knn_predictions(train, labels, test, 4, k=1000).tolist() == expected


def test_of_equal_cosines_the_earlier_row_is_nearer_and_of_equal_votes_the_lower_class_wins() -> None:
    same = np.ones((6, 3))
    assert knn_predictions(same, np.array([2, 2, 1, 1, 1, 0]), same[:1], 3, k=2).tolist() == [2]
    assert knn_predictions(same, np.array([2, 1, 2, 1, 0, 0]), same[:1], 3, k=4).tolist() == [1]


def test_a_low_temperature_is_the_single_nearest_and_does_not_overflow() -> None:
    train, labels = clusters(150, seed=0)
    test, _ = clusters(60, seed=1)
    expected = knn_predictions(train, labels, test, 4, k=1)
    assert knn_predictions(train, labels, test, 4, temperature=1e-6).tolist() == expected.tolist()


def test_raw_pixels_of_digits_reach_what_is_known_of_them() -> None:
    pixels, labels = load_digits(return_X_y=True)
    found = knn_predictions(pixels[:1347], labels[:1347], pixels[1347:], 10)
    assert 0.94 < (found == labels[1347:]).mean() < 0.98


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k must be >= 1, got 0"),
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"train": np.ones((0, 2)), "train_labels": np.zeros(0, int)}, "needs training rows, got none"),
        ({"train_labels": np.array([0])}, r"one label per training row needed, got \(1,\) for 2 rows"),
        ({"train_labels": np.array([0, 5])}, r"labels must lie in 0 .. 1, got 0 .. 5"),
        ({"train": np.zeros((2, 2))}, "training rows must be finite and not zero, got 2 that are not, first: row 0"),
        ({"test": np.array([[1.0, 1.0], [np.nan, 0.0]])}, "test rows must be finite .* first: row 1"),
        ({"test": np.ones((2, 3))}, "must share one space"),
    ],
)
def test_what_cannot_be_judged_is_refused(changes: dict[str, object], message: str) -> None:
    fields = {"train": np.eye(2), "train_labels": np.array([0, 1]), "test": np.ones((3, 2)), "num_classes": 2}
    with pytest.raises(EvaluationError, match=message):
        knn_predictions(**(fields | changes))
