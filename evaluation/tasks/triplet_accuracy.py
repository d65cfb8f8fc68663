"""Triplet accuracy: is a text nearer to one that belongs to it than to one that does not?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evaluation.embedder import Embedder
from evaluation.metrics import paired_cosines
from evaluation.results import TaskResult
from evaluation.statistics import mean_of
from evaluation.tasks.task import embed_texts
from evaluation.tasks.text_task import TextTask


@dataclass(frozen=True, kw_only=True)
class TripletAccuracyTask(TextTask):
    """Compare the cosine of an anchor and its positive with that of the anchor and a negative.

    Metrics: ``cosine_accuracy``, the share of triplets in which the positive is strictly nearer, and ``ties``, those in
    which both are exactly as near: misses, because a collapsed model would have all of them right otherwise.

    Attributes:
        anchors: N texts.
        positives: for each one that belongs to it.
        negatives: for each one that does not.

    Raises:
        EvaluationError: no triplets, lengths that differ, texts that are none.
    """

    task: ClassVar[str] = "triplet_accuracy"
    example_name: ClassVar[str] = "triplets"

    anchors: Sequence[str]
    positives: Sequence[str]
    negatives: Sequence[str]

    def __post_init__(self) -> None:
        self._check_rows(anchors=self.anchors, positives=self.positives, negatives=self.negatives)
        for what, texts in (("anchor", self.anchors), ("positive", self.positives), ("negative", self.negatives)):
            self._check_texts(what, texts)

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the accuracy with its interval, the ties, and which triplets are right.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        anchors, positives, negatives = (
            embed_texts(embedder, texts) for texts in (self.anchors, self.positives, self.negatives)
        )
        near, far = paired_cosines(anchors, positives), paired_cosines(anchors, negatives)
        is_right, num_tied = (near > far).astype(np.float64), int((near == far).sum())
        tied = f"In {num_tied:,} of {len(near):,} triplets both were exactly as near; those count as missed."
        return self._result(
            embedder,
            {"cosine_accuracy": float(is_right.mean()), "ties": float(num_tied)},
            len(near),
            {"cosine_accuracy": is_right},
            intervals=self._intervals(["cosine_accuracy"], mean_of(is_right[:, None]), len(near)),
            chance={"cosine_accuracy": 0.5},
            units={"ties": "count"},
            headline=("cosine_accuracy",),
            notes=(tied,) if num_tied else (),
        )
