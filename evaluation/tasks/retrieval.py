"""Image-to-text and text-to-image retrieval, any number of captions per picture and pictures per caption."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from evaluation.embedder import Embedder, Embeddings, Picture
from evaluation.errors import EvaluationError
from evaluation.exhibits import EmbeddingSample, Exhibits, Item, JudgedPictures, SimilarityMatrix, picture_item
from evaluation.metrics import (
    QueryRanks,
    chance_recall_at_k,
    check_partners,
    image_text_ranks,
    rank_best_own,
    rank_best_relevant,
    recall_at_k,
    similarity,
)
from evaluation.results import TaskResult, Unit
from evaluation.statistics import RESAMPLES, Interval, bootstrap_intervals, mean_of
from evaluation.tasks.ranked_examples import Side, ranked_examples
from evaluation.tasks.task import embed_images, embed_texts, example_ids, identify

CUTOFFS = (1, 5, 10)

T = TypeVar("T")

_NUM_SIMILARITIES = 10
_NUM_MAPPED = 200


@dataclass(frozen=True, kw_only=True)
class RetrievalTask:
    """Find each text's pictures and each picture's texts; relevant is what has the same group id.

    Metrics: ``image_retrieval_recall@k``, the share of texts with a picture of theirs in the top k, and
    ``text_retrieval_recall@k``, the share of pictures with a text of theirs in the top k, for k of 1, 5, 10; median and
    mean rank; ties, which count as misses (see `evaluation.metrics.retrieval`). Intervals resample groups.

    The same with ``_strict`` behind it takes less for a hit: not whatever is of the group, but for a picture one of its
    own texts, and for each text of a picture that very picture. Only where the two differ, each direction by itself.

    Attributes:
        images: N pictures, decoded when asked for.
        texts: M captions.
        image_groups: ``(N,)`` ids.
        text_groups: ``(M,)`` ids; every group has pictures and texts.
        picture_ids: ``(N,)`` equal for rows that show one and the same picture; empty where that is not known.
        own_texts: ``(P, 2)`` a picture's id and the index of a text of its own; empty where only groups are known, and
            then there is no strict protocol.
        dataset: name in results.
        split: name in results.
        language: of the texts, ISO 639-1.
        image_kinds: ``(N,)`` what to colour pictures by in the map, or empty.
        ids: ``(N,)`` ids of the pictures, by which results of several models are paired; by default their places.
        text_ids: ``(M,)`` ids of the captions, likewise.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the examples shown.

    Raises:
        EvaluationError: no rows, lengths that differ, captions that are not text, or a picture or caption alone.
    """

    images: Sequence[Picture]
    texts: Sequence[str]
    image_groups: Sequence[int] | NDArray[np.int64]
    text_groups: Sequence[int] | NDArray[np.int64]
    picture_ids: Sequence[int] = ()
    own_texts: Sequence[tuple[int, int]] = ()
    dataset: str
    split: str = "test"
    language: str = "en"
    image_kinds: Sequence[str] = ()
    ids: Sequence[str] | None = None
    text_ids: Sequence[str] | None = None
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        pairs = (("pictures", self.images, self.image_groups), ("captions", self.texts, self.text_groups))
        for what, rows, groups in pairs:
            if len(rows) == 0:
                raise EvaluationError(f"{self.dataset}: retrieval needs {what}, got none")
            if len(rows) != len(groups):
                raise EvaluationError(f"{self.dataset}: {len(rows)} {what} must have as many groups, got {len(groups)}")
        for name in ("image_kinds", "picture_ids"):
            if len(getattr(self, name)) not in (0, len(self.images)):
                raise EvaluationError(f"{self.dataset}: {name} must be empty or one per picture")
        for index, text in enumerate(self.texts):
            if not isinstance(text, str) or not text.strip():
                raise EvaluationError(f"{self.dataset}: every caption must be a text, got {text!r} for caption {index}")
        example_ids(self.ids, len(self.images), self.dataset)
        example_ids(self.text_ids, len(self.texts), self.dataset)
        try:
            check_partners(self.image_groups, self.text_groups)
        except EvaluationError as error:
            raise EvaluationError(f"{self.dataset}: {error}") from None

    @classmethod
    def from_captions(
        cls,
        images: Sequence[Picture],
        captions: Sequence[Sequence[str]],
        *,
        dataset: str,
        groups: Sequence[int] | None = None,
        same_pictures: Sequence[Hashable] = (),
        split: str = "test",
        language: str = "en",
        image_kinds: Sequence[str] = (),
        ids: Sequence[str] | None = None,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> RetrievalTask:
        """Return the task of N pictures with a list of captions each.

        A caption that occurs several times in one group (the name of a character under each of its drawings) is one
        candidate. Without ``groups`` every picture is a group of its own. ``same_pictures`` has an equal value for rows
        that show one and the same picture, as a file with a row for each caption has them: no rivals of each other in
        the strict protocol. Empty: every row shows another.

        The first caption of the picture with id ``"17"`` has the id ``"17.0"``, the second ``"17.1"``.

        Raises:
            EvaluationError: a picture without captions, and what the task itself refuses.
        """
        group_ids = list(range(len(images))) if groups is None else list(groups)
        if not len(images) == len(captions) == len(group_ids):
            raise EvaluationError(
                f"{dataset}: pictures, captions and groups must be as many, "
                f"got {len(images)}, {len(captions)} and {len(group_ids)}"
            )
        pairs = _distinct_captions(captions, group_ids, dataset)
        index_of = {pair: index for index, pair in enumerate(pairs)}
        number_of: dict[Hashable, int] = {}
        shown = [
            number_of.setdefault(pair, len(number_of))
            for pair in zip(group_ids, same_pictures or range(len(images)), strict=True)
        ]
        own = {
            (shown[row], index_of[group_ids[row], text]): None for row, texts in enumerate(captions) for text in texts
        }
        image_ids = example_ids(ids, len(images), dataset)
        return cls(
            images=images,
            texts=[text for _, text in pairs],
            image_groups=group_ids,
            text_groups=[group for group, _ in pairs],
            picture_ids=shown,
            own_texts=list(own),
            dataset=dataset,
            split=split,
            language=language,
            image_kinds=image_kinds,
            ids=image_ids.tolist(),
            text_ids=[f"{image_ids[row]}.{number}" for row, number in pairs.values()],
            resamples=resamples,
            seed=seed,
        )

    def evaluate(self, embedder: Embedder) -> TaskResult:
        """Return recalls with intervals and chance, ranks, ties, per-query ranks, and what a report shows.

        Raises:
            EvaluationError: embeddings that are not what the protocol promises.
        """
        images, texts = embed_images(embedder, self.images), embed_texts(embedder, self.texts)
        of_image, of_text = self._group_codes()
        image_retrieval, text_retrieval = image_text_ranks(images, texts, of_image, of_text)
        directions = (
            _Direction("image_retrieval", "texts", image_retrieval, of_text),
            _Direction("text_retrieval", "pictures", text_retrieval, of_image),
            *self._strict_directions(images, texts),
        )
        return TaskResult(
            **identify(embedder),
            dataset=self.dataset,
            split=self.split,
            language=self.language,
            task="retrieval",
            metrics=_merged(one.metrics() for one in directions),
            num_examples=len(self.images),
            intervals=_merged(one.intervals(self.resamples, self.seed) for one in directions),
            chance=_merged(one.chance() for one in directions),
            units=_merged(one.units() for one in directions),
            headline=tuple(name for one in directions for name in one.recall_names()),
            notes=tuple(note for one in directions for note in one.notes()),
            examples={
                "image_id": example_ids(self.ids, len(images), self.dataset),
                "text_id": example_ids(self.text_ids, len(texts), self.dataset),
                "image_retrieval_rank": image_retrieval.ranks,
                "text_retrieval_rank": text_retrieval.ranks,
                "text_group": of_text,
                "image_group": of_image,
            },
            exhibits=self._exhibits(images, texts, image_retrieval, text_retrieval),
        )

    def _strict_directions(self, images: Embeddings, texts: Embeddings) -> list[_Direction]:
        """Judge by a picture's own texts alone, in the directions in which that is not what the groups say already."""
        if not len(self.own_texts):
            return []
        (of_image, of_text), shown = self._group_codes(), np.asarray(self.picture_ids)
        pictures, captions = np.array(self.own_texts).T
        group_of_picture = dict(zip(shown.tolist(), of_image.tolist(), strict=True))
        num_pictures = np.bincount(list(group_of_picture.values()))
        found = []
        if num_pictures.max() > 1:
            outcome = rank_best_relevant(texts[captions], images, pictures, shown)
            found.append(_Direction("image_retrieval", "texts", outcome, of_text[captions], "_strict"))
        if len(pictures) < num_pictures @ np.bincount(of_text):
            pairs = csr_matrix((np.ones(len(pictures)), (pictures, captions)), (len(group_of_picture), len(texts)))
            outcome = rank_best_own(images, texts, pairs[shown])
            found.append(_Direction("text_retrieval", "pictures", outcome, of_image, "_strict"))
        return found

    def _group_codes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids = np.concatenate([np.asarray(self.image_groups), np.asarray(self.text_groups)])
        codes = np.unique(ids, return_inverse=True)[1].astype(np.int64)
        return codes[: len(self.images)], codes[len(self.images) :]

    def _exhibits(
        self, images: Embeddings, texts: Embeddings, image_retrieval: QueryRanks, text_retrieval: QueryRanks
    ) -> Exhibits:
        of_image, of_text = self._group_codes()
        pictures, captions = Side(images, of_image, self._picture), Side(texts, of_text, self._caption)
        # One picture and one text stand for a group wherever a sample is shown.
        groups = np.random.default_rng(self.seed).permutation(np.unique(of_image))
        image_of = dict(zip(*np.unique(of_image, return_index=True), strict=True))
        text_of = dict(zip(*np.unique(of_text, return_index=True), strict=True))
        rows = np.array([(image_of[group], text_of[group]) for group in groups[:_NUM_MAPPED].tolist()])
        few = rows[:_NUM_SIMILARITIES]
        kinds = tuple(str(self.image_kinds[row]) for row in rows[:, 0]) if len(self.image_kinds) else ()
        return Exhibits(
            text_queries=ranked_examples(captions, pictures, image_retrieval.ranks, self.seed),
            image_queries=ranked_examples(pictures, captions, text_retrieval.ranks, self.seed),
            similarity=SimilarityMatrix(
                scores=similarity(images[few[:, 0]], texts[few[:, 1]]),
                pictures=tuple(self._picture(row) for row in few[:, 0].tolist()),
                texts=tuple(self._caption(row) for row in few[:, 1].tolist()),
            ),
            embeddings=EmbeddingSample(
                images=images[rows[:, 0]],
                texts=texts[rows[:, 1]],
                partners=np.arange(len(rows)),
                text_labels=tuple(self.texts[row] for row in rows[:, 1].tolist()),
                image_kinds=kinds,
                text_kinds=kinds,
            ),
            judged=JudgedPictures(self.images, [self.texts[text_of[group]] for group in of_image.tolist()]),
        )

    def _picture(self, row: int) -> Item:
        return picture_item(self.images, row)

    def _caption(self, row: int) -> Item:
        return Item(text=self.texts[row])


def _distinct_captions(
    captions: Sequence[Sequence[str]], groups: Sequence[int], dataset: str
) -> dict[tuple[int, str], tuple[int, int]]:
    """The captions behind their groups, in order, each with where it first stands: picture, and place among its own."""
    bare = [index for index, texts in enumerate(captions) if not texts]
    if bare:
        raise EvaluationError(f"{dataset}: {len(bare)} of {len(captions)} pictures have no caption, first: {bare[0]}")
    found: dict[tuple[int, str], tuple[int, int]] = {}
    for row, (group, texts) in enumerate(zip(groups, captions, strict=True)):
        for number, text in enumerate(texts):
            found.setdefault((group, text), (row, number))
    return found


@dataclass(frozen=True)
class _Direction:
    """One of the two ways to search, and its share of the result; ``suffix`` ends the names of its metrics."""

    name: str
    queries: str
    outcome: QueryRanks
    groups: NDArray[np.int64]
    suffix: str = ""

    def recall_names(self) -> list[str]:
        return [f"{self.name}_recall@{k}{self.suffix}" for k in CUTOFFS]

    def metrics(self) -> dict[str, float | None]:
        recalls = (recall_at_k(self.outcome.ranks, k) for k in CUTOFFS)
        return {
            **dict(zip(self.recall_names(), recalls, strict=True)),
            f"{self.name}_median_rank{self.suffix}": float(np.median(self.outcome.ranks)),
            f"{self.name}_mean_rank{self.suffix}": float(self.outcome.ranks.mean()),
            f"{self.name}_ties{self.suffix}": float(self.outcome.tied.sum()),
        }

    def units(self) -> dict[str, Unit]:
        units: dict[str, Unit] = {"median_rank": "rank", "mean_rank": "rank", "ties": "count"}
        return {f"{self.name}_{what}{self.suffix}": unit for what, unit in units.items()}

    def chance(self) -> dict[str, float]:
        outcome = self.outcome
        levels = (chance_recall_at_k(outcome.num_relevant, outcome.num_candidates, k) for k in CUTOFFS)
        return dict(zip(self.recall_names(), levels, strict=True))

    def intervals(self, resamples: int, seed: int) -> dict[str, Interval]:
        hits = mean_of((self.outcome.ranks[:, None] <= np.array(CUTOFFS)).astype(np.float64))
        found = bootstrap_intervals(hits, len(self.groups), self.groups, resamples=resamples, seed=seed)
        return dict(zip(self.recall_names(), found, strict=True)) if found else {}

    def notes(self) -> list[str]:
        num_tied, num_queries = int(self.outcome.tied.sum()), len(self.groups)
        said = []
        if num_tied:
            said.append(
                f"{self.name}{self.suffix}: for {num_tied:,} of {num_queries:,} {self.queries} a wrong candidate "
                "scored exactly as high as the right one; it counts as ahead."
            )
        if self.outcome.num_candidates < max(CUTOFFS) and not self.suffix:
            said.append(
                f"{self.name}: only {self.outcome.num_candidates} candidates, so recall beyond that k is always 100."
            )
        return said


def _merged(parts: Iterable[Mapping[str, T]]) -> dict[str, T]:
    return {key: value for part in parts for key, value in part.items()}
