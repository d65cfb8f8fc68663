"""Semantic textual similarity: does the cosine of two texts rise with how alike people find them?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.baselines import TFIDF, BagOfWords
from evaluation.embedder import Embedder, Embeddings, Truncating, untrained_of
from evaluation.errors import EvaluationError
from evaluation.exhibits import Exhibits, most_misjudged
from evaluation.metrics import alignment, paired_cosines, pearson, spearman, uniformity
from evaluation.results import TaskResult
from evaluation.statistics import Interval
from evaluation.tables import format_value
from evaluation.tasks.task import embed_texts, example_ids
from evaluation.tasks.text_task import TextTask

CORRELATIONS = ("cosine_spearman", "cosine_pearson")
BASELINES: dict[str, type[BagOfWords]] = {"bag_of_words": BagOfWords, "tf_idf": TFIDF}

Found: TypeAlias = tuple[dict[str, float | None], dict[str, Interval]]
"""Correlations and their intervals."""

_ALIKE = 0.8
_MAX_UNIFORMITY_TEXTS = 10_000
_PAIRS_AT_A_TIME = 512


@dataclass(frozen=True, kw_only=True)
class STSTask(TextTask):
    """Compare the cosines of pairs of texts with gold scores.

    Metrics: ``cosine_spearman``, the rank correlation over all pairs, those of all subsets together ("all", as SimCSE
    reports STS12 to STS16, arXiv:2104.08821, appendix B), and ``cosine_pearson``; of each subset by itself,
    ``<subset>/cosine_spearman``. ``alignment`` over the pairs whose score lies in the highest fifth between the lowest
    and the highest that occur (above 4 of 0 to 5), and ``uniformity`` over all texts (SimCSE, section 3;
    arXiv:2005.10242). Texts are given to the model whole; where it cuts some, and can tell, a note says how many.

    Attributes:
        first: N texts.
        second: the N others.
        scores: ``(N,)`` gold, on any scale, higher for more alike; a pair without one (None or NaN) is left out.
        subsets: ``(N,)`` which part of the data each pair is of, or empty.
        baselines: also judge bags of words and TF-IDF, fitted on the texts judged, and, of an embedder that can be
            rebuilt, the same architecture untrained, as metrics whose names begin with ``bag_of_words/``, ``tf_idf/``
            and ``untrained/``.

    Raises:
        EvaluationError: no pair with a score, lengths that differ, texts that are none, infinite scores.
    """

    task: ClassVar[str] = "sts"

    first: Sequence[str]
    second: Sequence[str]
    scores: Sequence[float | None] | NDArray[Any]
    subsets: Sequence[str] = ()
    baselines: bool = False

    def __post_init__(self) -> None:
        self._check_rows(first=self.first, second=self.second, scores=self.scores, subsets=self.subsets or self.first)
        self._check_texts("text", [*self.first, *self.second])
        if np.isinf(self._all_scores).any():
            raise EvaluationError(f"{self.dataset}: scores must be finite or missing, got infinity")
        if len(self._kept) == 0:
            raise EvaluationError(f"{self.dataset}: sts needs scores, and none of {len(self.first)} pairs has one")

    @cached_property
    def _all_scores(self) -> NDArray[np.float64]:
        return np.array([np.nan if score is None else score for score in self.scores], dtype=np.float64)

    @cached_property
    def _kept(self) -> NDArray[np.int64]:
        return np.flatnonzero(~np.isnan(self._all_scores))

    @cached_property
    def _pairs(self) -> tuple[list[str], list[str]]:
        """The texts of the pairs judged; the same lists each time, so that an embedder may remember them."""
        first, second = ([texts[row] for row in self._kept.tolist()] for texts in (self.first, self.second))
        return first, second

    def _group_ids(self) -> NDArray[np.int64] | None:
        return None if self.groups is None else np.asarray(self.groups)[self._kept]

    def _example_ids(self, num_examples: int) -> NDArray[np.str_]:
        return example_ids(self.ids, len(self.first), self.dataset)[self._kept]

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return the correlations with intervals, the health of the embeddings, and the pairs most misjudged.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        first, second = (embed_texts(embedder, texts) for texts in self._pairs)
        gold, cosines = self._all_scores[self._kept], paired_cosines(first, second)
        found, intervals = self._correlations(cosines), self._correlation_intervals(cosines)
        notes = self._notes(embedder)
        baselines = self._baselines_of(embedder) if self.baselines else {}
        for name, (values, ranges) in baselines.items():
            found |= {f"{name}/{metric}": value for metric, value in values.items()}
            intervals |= {f"{name}/{metric}": interval for metric, interval in ranges.items()}
        if baselines:
            notes.append(_beside(baselines))
        metrics = found | self._by_subset(cosines) | self._health(first, second)
        return self._result(
            embedder,
            metrics,
            len(gold),
            {"cosine": cosines, "score": gold},
            reasons={name: self._reason(name) for name, value in metrics.items() if value is None},
            intervals={name: interval for name, interval in intervals.items() if metrics[name] is not None},
            chance=dict.fromkeys(CORRELATIONS, 0.0),
            units={"alignment": "number", "uniformity": "number"},
            headline=CORRELATIONS,
            protocol={"aggregation": "all", "alignment_above": self._alike_above},
            notes=tuple(notes),
            exhibits=Exhibits(text_pairs=most_misjudged(*self._pairs, gold, cosines)),
        )

    def _correlations(self, cosines: NDArray[np.float32]) -> dict[str, float | None]:
        gold = self._all_scores[self._kept]
        return {
            name: _existing(correlate(gold, cosines)[0])
            for name, correlate in zip(CORRELATIONS, (spearman, pearson), strict=True)
        }

    def _correlation_intervals(self, cosines: NDArray[np.float32]) -> dict[str, Interval]:
        gold = self._all_scores[self._kept]

        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.column_stack([spearman(gold, cosines, weights), pearson(gold, cosines, weights)])

        return self._intervals(CORRELATIONS, statistic, len(gold))

    def _by_subset(self, cosines: NDArray[np.float32]) -> dict[str, float | None]:
        if not len(self.subsets):
            return {}
        gold, names = self._all_scores[self._kept], np.array([str(self.subsets[row]) for row in self._kept.tolist()])
        return {
            f"{name}/cosine_spearman": _existing(spearman(gold[names == name], cosines[names == name])[0])
            for name in dict.fromkeys(names.tolist())
        }

    @property
    def _alike_above(self) -> float:
        gold = self._all_scores[self._kept]
        return float(gold.min() + _ALIKE * np.ptp(gold))

    def _health(self, first: Embeddings, second: Embeddings) -> dict[str, float | None]:
        is_alike = self._all_scores[self._kept] > self._alike_above
        texts = [*self._pairs[0], *self._pairs[1]]
        rows = np.array(list({text: row for row, text in enumerate(texts)}.values()))  # of each text once
        if len(rows) > _MAX_UNIFORMITY_TEXTS:
            rows = np.random.default_rng(self.seed).choice(rows, _MAX_UNIFORMITY_TEXTS, replace=False)
        return {
            "alignment": alignment(first[is_alike], second[is_alike]) if is_alike.any() else None,
            "uniformity": uniformity(np.concatenate([first, second])[rows]) if len(rows) > 1 else None,
        }

    def _baselines_of(self, embedder: Embedder) -> dict[str, Found]:
        untrained = untrained_of(embedder)
        if untrained is None:
            return self._bags_of_words
        # It is the same for every step of a run.
        if untrained.fingerprint not in self._known_untrained:
            first, second = (embed_texts(untrained, texts) for texts in self._pairs)
            self._known_untrained[untrained.fingerprint] = self._found(paired_cosines(first, second))
        return {**self._bags_of_words, "untrained": self._known_untrained[untrained.fingerprint]}

    @cached_property
    def _bags_of_words(self) -> dict[str, Found]:
        """What each finds, which is the same for every model and every step of a run."""
        first, second = self._pairs
        encoders = {name: baseline([*first, *second]).encode_texts for name, baseline in BASELINES.items()}
        return {name: self._found(_cosines_in_parts(encode, first, second)) for name, encode in encoders.items()}

    @cached_property
    def _known_untrained(self) -> dict[str, Found]:
        return {}

    def _found(self, cosines: NDArray[np.float32]) -> Found:
        return self._correlations(cosines), self._correlation_intervals(cosines)

    def _notes(self, embedder: Embedder) -> list[str]:
        num_bare, notes = len(self.first) - len(self._kept), []
        if num_bare:
            notes.append(f"{num_bare:,} of {len(self.first):,} pairs have no gold score and are left out.")
        texts = [*self._pairs[0], *self._pairs[1]]
        num_cut = embedder.count_too_long(texts) if isinstance(embedder, Truncating) else 0
        if num_cut:
            notes.append(f"{num_cut:,} of {len(texts):,} texts are longer than the model reads, and were cut.")
        return notes

    def _reason(self, metric: str) -> str:
        if metric == "alignment":
            return "all gold scores are equal"
        if metric == "uniformity":
            return "there is only one text"
        return "all gold scores, or all cosines, are equal"


def _beside(baselines: Mapping[str, Found]) -> str:
    shown = []
    for name, (values, _) in baselines.items():
        value = values["cosine_spearman"]
        shown.append(f"{name} {'n/a' if value is None else format_value(value, 'fraction')}")
    return f"cosine_spearman without learning: {', '.join(shown)}."


def _existing(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _cosines_in_parts(
    encode: Callable[[Sequence[str]], Embeddings], first: Sequence[str], second: Sequence[str]
) -> NDArray[np.float32]:
    """Return the ``(N,)`` cosines of pairs whose embeddings are too wide to have all at once."""
    parts = (slice(start, start + _PAIRS_AT_A_TIME) for start in range(0, len(first), _PAIRS_AT_A_TIME))
    return np.concatenate([paired_cosines(encode(first[part]), encode(second[part])) for part in parts])
