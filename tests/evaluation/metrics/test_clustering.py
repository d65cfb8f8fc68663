"""Clusters against classes: by hand, against matchings tried one by one, and k-means on what lies apart."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from evaluation import EvaluationError
from evaluation.metrics import cluster_scores, kmeans_clusters


def blobs(num_classes: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(20 * num_classes) % num_classes
    return rng.normal(size=(num_classes, 8))[labels] + spread * rng.normal(size=(len(labels), 8)), labels


def test_scores_by_hand() -> None:
    # Three of class 0 and one of class 1 in cluster 1; the other of class 1 alone in cluster 0.
    found = cluster_scores(np.array([0, 0, 0, 1, 1]), np.array([1, 1, 1, 1, 0]), 2)
    assert found.accuracy == 0.8
    assert found.matched.tolist() == [1, 0]
    of_classes = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    of_clusters = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    left = 0.8 * -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))  # of classes, where clusters are known
    shared = of_classes - left
    assert found.nmi == pytest.approx(2 * shared / (of_classes + of_clusters))
    # Pairs together: 4 by class, 6 by cluster, 3 by both, of 10.
    assert found.adjusted_rand_index == pytest.approx((3 - 2.4) / ((4 + 6) / 2 - 2.4))


def test_accuracy_is_that_of_the_best_matching_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        num_classes = int(rng.integers(2, 6))
        labels, clusters = rng.integers(0, num_classes, size=(2, 25))
        found = cluster_scores(labels, clusters, num_classes)
        tried = [(np.array(each)[clusters] == labels).mean() for each in permutations(range(num_classes))]
        assert found.accuracy == pytest.approx(max(tried))
        assert (found.matched[clusters] == labels).mean() == pytest.approx(found.accuracy)
        assert found.v_measure == pytest.approx(found.nmi)


def test_what_clusters_are_called_changes_nothing() -> None:
    labels, clusters = np.random.default_rng(1).integers(0, 4, size=(2, 40))
    before, after = (cluster_scores(labels, each, 4) for each in (clusters, np.array([2, 0, 3, 1])[clusters]))
    for name in ("v_measure", "nmi", "adjusted_rand_index", "accuracy"):
        assert getattr(after, name) == pytest.approx(getattr(before, name))


def test_classes_that_lie_apart_are_found_whatever_their_scale() -> None:
    rows, labels = blobs(4, spread=0.05)
    for scaled in (rows, rows * np.linspace(0.1, 10, len(rows))[:, None]):
        best = max(cluster_scores(labels, kmeans_clusters(scaled, 4, seed), 4).accuracy for seed in range(5))
        assert best == 1.0


def test_equal_seeds_give_equal_clusters() -> None:
    rows, _ = blobs(5, spread=1.0)
    assert (kmeans_clusters(rows, 5, 3) == kmeans_clusters(rows, 5, 3)).all()
    assert (kmeans_clusters(rows, 5, 3) != kmeans_clusters(rows, 5, 4)).any()


def test_of_equal_rows_one_cluster_is_left_and_scores_nothing() -> None:
    clusters = kmeans_clusters(np.ones((12, 3)), 3)
    assert len(set(clusters.tolist())) == 1
    found = cluster_scores(np.arange(12) % 3, clusters, 3)
    assert (found.v_measure, found.adjusted_rand_index, found.accuracy) == (0.0, 0.0, pytest.approx(1 / 3))


def test_what_cannot_be_clustered_is_refused() -> None:
    rows, _ = blobs(2, spread=1.0)
    rows[3, 0] = np.nan
    with pytest.raises(EvaluationError, match="first: row 3"):
        kmeans_clusters(rows, 2)
    with pytest.raises(EvaluationError, match=r"must lie in 1 \.\. 4, got 5"):
        kmeans_clusters(np.ones((4, 2)), 5)
    with pytest.raises(EvaluationError, match="at least one example"):
        cluster_scores(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 2)
