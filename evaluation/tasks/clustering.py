"""Clustering of pictures or texts: do embeddings of one class lie together, without being told of classes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedder, Picture
from evaluation.errors import EvaluationError
from evaluation.metrics import ClusterScores, cluster_scores, kmeans_clusters
from evaluation.results import TaskResult
from evaluation.statistics import RESAMPLES, Interval, bootstrap_intervals, mean_of
from evaluation.tasks.task import embed_images, embed_texts, example_ids, identify

METRICS = ("v_measure", "nmi", "adjusted_rand_index", "clustering_accuracy")
NUM_SEEDS = 5


@dataclass(frozen=True, kw_only=True)
class ClusteringTask:
    """Cluster pictures or texts by k-means, as many clusters as there are classes, and compare them with the labels.

    Metrics: ``v_measure``, MTEB's headline, ``nmi``, the same number under the name that papers on pictures give it,
    ``adjusted_rand_index`` and ``clustering_accuracy``, each the mean over the seeds of k-means, with the standard
    deviation over them as ``<metric>_std`` (of a sample: divided by one less than the seeds).

    Only ``clustering_accuracy`` has an interval. It resamples examples or groups, with the clusters as they were found
    and each matched to its class: it says how much the share depends on which examples were judged. The other metrics
    compare all examples with each other; an example drawn twice agrees with itself, so that resamples score too high.

    Attributes:
        labels: ``(N,)`` the class of each example.
        dataset: name in results.
        images: N pictures, decoded when asked for; None for texts.
        texts: N texts; None for pictures.
        num_seeds: starts of k-means, seeds 0 and on, at least 1.
        groups: ``(N,)`` ids of examples that are not independent, or None.
        ids: ``(N,)`` ids of the examples, by which results of several models are paired; by default their places.
        split: name in results.
        language: of the texts, ISO 639-1.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        EvaluationError: not either pictures or texts, none of them, no or missing labels, lengths that differ, under
            two classes, or no seeds.
    """

    labels: Sequence[str | None]
    dataset: str
    images: Sequence[Picture] | None = None
    texts: Sequence[str] | None = None
    num_seeds: int = NUM_SEEDS
    groups: Sequence[int] | NDArray[np.int64] | None = None
    ids: Sequence[str] | None = None
    split: str = "test"
    language: str = "en"
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.images is None) == (self.texts is None):
            raise EvaluationError(f"{self.dataset}: clustering needs either pictures or texts")
        num_examples = self._num_examples()
        if num_examples == 0:
            raise EvaluationError(f"{self.dataset}: clustering needs {self._example_name()}, got none")
        for what, values in (("labels", self.labels), ("groups", self.groups)):
            if values is not None and len(values) != num_examples:
                raise EvaluationError(
                    f"{self.dataset}: {num_examples} {self._example_name()} must have as many {what}, got {len(values)}"
                )
        bare = [index for index, label in enumerate(self.labels) if label is None]
        if bare:
            raise EvaluationError(
                f"{self.dataset}: every example must have a label, {len(bare)} of {num_examples} have none, "
                f"first: {bare[0]}"
            )
        if len(self._classes()) < 2:
            raise EvaluationError(f"{self.dataset}: clustering needs at least two classes, got one")
        if self.num_seeds < 1:
            raise EvaluationError(f"{self.dataset}: num_seeds must be >= 1, got {self.num_seeds}")
        example_ids(self.ids, num_examples, self.dataset)

    def _num_examples(self) -> int:
        return len(self.images if self.images is not None else self.texts or ())

    def _example_name(self) -> str:
        return "pictures" if self.images is not None else "texts"

    def _classes(self) -> list[str]:
        return sorted({str(label) for label in self.labels})

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the means over the seeds with their deviations, the interval, and each example's clusters.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        index_of = {label: index for index, label in enumerate(self._classes())}
        labels = np.array([index_of[str(label)] for label in self.labels], dtype=np.int64)
        scores, classes = self._clustered(embedder, labels)
        metrics, share_found = _summary(scores), (classes == labels).mean(axis=0)
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            language=self.language,
            task="clustering",
            metrics=metrics,
            reasons={name: "one start has no standard deviation" for name, value in metrics.items() if value is None},
            num_examples=len(labels),
            example_name=self._example_name(),
            intervals=self._intervals(share_found),
            chance={"adjusted_rand_index": 0.0},
            headline=("v_measure", "clustering_accuracy"),
            protocol={
                "algorithm": "k-means on unit vectors, scikit-learn, k-means++, one start per seed",
                "num_clusters": len(index_of),
                "num_seeds": self.num_seeds,
            },
            examples={
                "id": example_ids(self.ids, len(labels), self.dataset),
                "label": labels,
                "prediction@seeds": classes.T,
                "clustering_accuracy": share_found,
            }
            | ({} if self.groups is None else {"group": np.asarray(self.groups)}),
            class_names=tuple(index_of),
        )

    def _clustered(
        self, embedder: Embedder, labels: NDArray[np.int64]
    ) -> tuple[list[ClusterScores], NDArray[np.int64]]:
        """Return the scores of each start, and the ``(S, N)`` classes that its clusters are matched to."""
        if self.images is not None:
            embeddings = embed_images(embedder, self.images)
        else:
            embeddings = embed_texts(embedder, self.texts or ())
        num_classes = len(self._classes())
        clusters = [kmeans_clusters(embeddings, num_classes, seed) for seed in range(self.num_seeds)]
        scores = [cluster_scores(labels, each, num_classes) for each in clusters]
        return scores, np.stack([one.matched[each] for one, each in zip(scores, clusters, strict=True)])

    def _intervals(self, share_found: NDArray[np.float64]) -> dict[str, Interval]:
        found = bootstrap_intervals(
            mean_of(share_found[:, None]), len(share_found), self.groups, resamples=self.resamples, seed=self.seed
        )
        return {"clustering_accuracy": found[0]} if found else {}


def _summary(scores: Sequence[ClusterScores]) -> dict[str, float | None]:
    values = np.array([[one.v_measure, one.nmi, one.adjusted_rand_index, one.accuracy] for one in scores])
    means = dict(zip(METRICS, values.mean(axis=0).tolist(), strict=True))
    if len(scores) == 1:
        return means | {f"{name}_std": None for name in METRICS}
    return means | {f"{name}_std": std for name, std in zip(METRICS, values.std(axis=0, ddof=1).tolist(), strict=True)}
