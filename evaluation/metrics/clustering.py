"""Do the groups that embeddings form by themselves agree with labels? k-means, and how its clusters match classes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.metrics.classification import confusion_matrix
from evaluation.metrics.rows import unit_rows

MAX_ITERATIONS = 300


@dataclass(frozen=True)
class ClusterScores:
    """How clusters agree with classes, whatever either are called.

    Attributes:
        v_measure: harmonic mean of homogeneity and completeness, in [0, 1] (Rosenberg and Hirschberg 2007).
        nmi: mutual information over the mean of both entropies, the same number under the name of other papers.
        adjusted_rand_index: agreement on pairs of examples, 0 for what chance reaches, 1 at most.
        accuracy: share of examples whose cluster is matched to their class, in [0, 1], of the best matching of one
            cluster to one class (the Hungarian method).
        matched: ``(K,)`` int64, the class that each cluster is matched to.
    """

    v_measure: float
    nmi: float
    adjusted_rand_index: float
    accuracy: float
    matched: NDArray[np.int64]


def kmeans_clusters(
    rows: NDArray[np.floating], num_clusters: int, seed: int = 0, max_iterations: int = MAX_ITERATIONS
) -> NDArray[np.int64]:
    """Return the ``(N,)`` int64 cluster of each row, in 0 .. num_clusters - 1, by k-means on rows of unit norm.

    scikit-learn's, Lloyd's algorithm from one start by k-means++. Where there are fewer different rows than clusters,
    some clusters are empty.

    Args:
        rows: ``(N, D)`` float; normalised here.
        num_clusters: at least 1, at most N.
        seed: of the start.
        max_iterations: of Lloyd's algorithm.

    Raises:
        EvaluationError: rows that are zero or not finite, or fewer rows than clusters.
    """
    if not 1 <= num_clusters <= len(rows):
        raise EvaluationError(f"the number of clusters must lie in 1 .. {len(rows)}, got {num_clusters}")
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    model = KMeans(num_clusters, n_init=1, max_iter=max_iterations, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of equal rows: their clusters are one, and score so
        return np.asarray(model.fit_predict(unit_rows(rows)), dtype=np.int64)


def cluster_scores(labels: NDArray[np.int64], clusters: NDArray[np.int64], num_classes: int) -> ClusterScores:
    """Compare ``(N,)`` int64 labels in 0 .. num_classes - 1 with as many clusters in the same range.

    Raises:
        EvaluationError: no examples, lengths that differ, or numbers outside the range.
    """
    if len(labels) == 0:
        raise EvaluationError("clusters need at least one example, got none")
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, v_measure_score

    counts = confusion_matrix(labels, clusters, num_classes)  # classes in rows, clusters in columns
    classes, columns = linear_sum_assignment(counts, maximize=True)
    return ClusterScores(
        v_measure=float(v_measure_score(labels, clusters)),
        nmi=float(normalized_mutual_info_score(labels, clusters)),
        adjusted_rand_index=float(adjusted_rand_score(labels, clusters)),
        accuracy=float(counts[classes, columns].sum() / len(labels)),
        matched=classes[np.argsort(columns)].astype(np.int64),
    )
