"""Classification metrics against hand-made counts and scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from evaluation.errors import EvaluationError
from evaluation.metrics import confusion_matrix, macro_scores, mean_per_class_recall, top_k_accuracy


def totals(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = confusion_matrix(labels, predictions, num_classes).astype(float)
    return np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)


def test_confusion_matrix_has_true_classes_in_rows() -> None:
    counts = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_mean_per_class_recall_by_hand() -> None:
    # Recalls 1/2, 1 and 0; the fourth class has no example and does not count.
    correct, support, _ = totals(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 3]), 4)
    assert mean_per_class_recall(correct, support) == pytest.approx(0.5)


def test_macro_scores_by_hand() -> None:
    # Class 0: precision 1/2, recall 1/2. Class 1: 1/2, 1. Class 2: no prediction, no hit.
    scores = macro_scores(*totals(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3))
    assert scores.precision == pytest.approx(1 / 3)
    assert scores.recall == pytest.approx(1 / 2)
    assert scores.f1 == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_equal_to_scikit_learn_over_random_cases() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        num_classes, num_examples = int(rng.integers(2, 9)), int(rng.integers(1, 40))
        labels, predictions = rng.integers(0, num_classes, size=(2, num_examples))
        counts = totals(labels, predictions, num_classes)
        precision, recall, f1, _ = reference.precision_recall_fscore_support(
            labels, predictions, average="macro", zero_division=0
        )
        ours = macro_scores(*counts)
        np.testing.assert_allclose([ours.precision, ours.recall, ours.f1], [precision, recall, f1], rtol=1e-12)
        with warnings.catch_warnings():  # it warns of predicted classes that have no example
            warnings.simplefilter("ignore")
            balanced = reference.balanced_accuracy_score(labels, predictions)
        np.testing.assert_allclose(mean_per_class_recall(*counts[:2]), balanced, rtol=1e-12)


def test_leading_axes_are_kept() -> None:
    rng = np.random.default_rng(1)
    correct = rng.integers(0, 5, size=(6, 4)).astype(float)
    support, predicted = correct + rng.integers(1, 3, size=(6, 4)), correct + rng.integers(0, 3, size=(6, 4))
    whole = macro_scores(correct, support, predicted)
    single = [macro_scores(*row).f1 for row in zip(correct, support, predicted, strict=True)]
    np.testing.assert_allclose(whole.f1, single)
    assert mean_per_class_recall(correct, support).shape == (6,)


def test_top_k_accuracy_counts_ranks_and_is_none_where_every_answer_is_right() -> None:
    ranks = np.array([1, 2, 5, 6])
    assert top_k_accuracy(ranks, 1, 10) == 0.25
    assert top_k_accuracy(ranks, 5, 10) == 0.75
    assert top_k_accuracy(np.array([1, 2]), 5, 4) is None
    assert top_k_accuracy(np.array([1, 5]), 5, 5) == 1.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"predictions must lie in 0 \.\. 1, got 0 \.\. 2"):
        confusion_matrix(np.array([0, 1]), np.array([0, 2]), 2)
    with pytest.raises(EvaluationError, match=r"labels must lie in 0 \.\. 1, got -1 \.\. 0"):
        confusion_matrix(np.array([0, -1]), np.array([0, 1]), 2)
    with pytest.raises(EvaluationError, match="got 1 for 2"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)
    with pytest.raises(EvaluationError, match="at least one example"):
        top_k_accuracy(np.array([], dtype=np.int64), 1, 2)
    with pytest.raises(EvaluationError, match="at least one example"):
        mean_per_class_recall(np.zeros(3), np.zeros(3))
    with pytest.raises(EvaluationError, match="at least one example"):
        macro_scores(np.zeros(3), np.zeros(3), np.zeros(3))
