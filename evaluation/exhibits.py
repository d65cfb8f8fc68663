"""What a report shows of a result besides its numbers: examples, a confusion matrix, similarities, embeddings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.stats import rankdata

from evaluation.embedder import Picture
from evaluation.errors import EvaluationError

THUMBNAIL_SIDE = 96
"""Longer side of a thumbnail in pixels; smaller pictures stay as they are."""

_JPEG_QUALITY = 80


@dataclass(frozen=True)
class Item:
    """A picture, a text, or a picture with its text.

    Attributes:
        text: caption or class name, any Unicode.
        picture: a small PNG or JPEG file, see `thumbnail`.
    """

    text: str | None = None
    picture: bytes | None = None


@dataclass(frozen=True)
class Candidate:
    """One answer of the model: the item, its cosine similarity to the query, and whether it is right."""

    item: Item
    score: float
    is_relevant: bool


@dataclass(frozen=True)
class RankedExample:
    """One query and what the model put first.

    Attributes:
        query: what was asked.
        candidates: the model's first answers, best first.
        wanted: the best right answer, wherever it came.
        rank: of ``wanted``, from 1.
        num_candidates: how many there were to choose from.
    """

    query: Item
    candidates: tuple[Candidate, ...]
    wanted: Candidate
    rank: int
    num_candidates: int


@dataclass(frozen=True)
class TextPair:
    """Two texts, the gold score or label of the pair, and the model's cosine."""

    first: str
    second: str
    score: float
    cosine: float


@dataclass(frozen=True)
class ConfusionMatrix:
    """``(K, K)`` int64 counts by true class (rows) and predicted class (columns), and the K class names."""

    counts: NDArray[np.int64]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class SimilarityMatrix:
    """``(n, n)`` float32 cosine similarities of n pictures (rows) and n texts (columns); pair (i, i) is right."""

    scores: NDArray[np.float32]
    pictures: tuple[Item, ...]
    texts: tuple[Item, ...]


@dataclass(frozen=True)
class JudgedPictures:
    """The pictures behind ``TaskResult.examples``, to show some of them by number.

    Attributes:
        pictures: ``(N,)`` as they were judged, decoded when asked for.
        texts: ``(N,)`` the class or caption of each.
    """

    pictures: Sequence[Picture]
    texts: Sequence[str]

    def item(self, index: int) -> Item:
        """Return picture ``index`` with its text; errors are those of `thumbnail`."""
        return picture_item(self.pictures, index, self.texts[index])


@dataclass(frozen=True)
class EmbeddingSample:
    """Embeddings of some pictures and texts of the shared space, for a map of it.

    Attributes:
        images: ``(n, D)`` float32.
        texts: ``(m, D)`` float32; without rows for a space of pictures alone.
        partners: ``(n,)`` int64, the row of ``texts`` that belongs to each image; empty where there are no texts.
        text_labels: ``(m,)`` what the texts say.
        image_kinds: ``(n,)`` what the images are coloured by (their class), or empty.
        text_kinds: ``(m,)`` the same for the texts, or empty.
    """

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    partners: NDArray[np.int64]
    text_labels: tuple[str, ...]
    image_kinds: tuple[str, ...] = ()
    text_kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exhibits:
    """Everything a report shows of one result; what a task has not stays empty.

    Attributes:
        text_queries: texts for which pictures were sought.
        image_queries: pictures for which texts, or classes, were sought.
        text_answers: texts for which texts were sought.
        text_pairs: pairs of texts that were taken for more, or for less, alike than they are.
        confusion: of a classification.
        similarity: a sample of the similarity matrix.
        embeddings: a sample of the shared space.
        judged: the pictures that were judged, for what is looked up when a page is written.
    """

    text_queries: tuple[RankedExample, ...] = ()
    image_queries: tuple[RankedExample, ...] = ()
    text_answers: tuple[RankedExample, ...] = ()
    text_pairs: tuple[TextPair, ...] = ()
    confusion: ConfusionMatrix | None = None
    similarity: SimilarityMatrix | None = None
    embeddings: EmbeddingSample | None = None
    judged: JudgedPictures | None = None


def thumbnail(picture: Picture) -> bytes:
    """Return ``picture`` at most `THUMBNAIL_SIDE` pixels a side: turned upright, on white, RGB.

    As a PNG or a JPEG file, whichever is smaller: drawings of few colours keep every pixel, photographs take a sixth.

    Raises:
        EvaluationError: a picture that cannot be opened.
    """
    try:
        image = picture if isinstance(picture, Image.Image) else Image.open(Path(picture))
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    except OSError as error:
        raise EvaluationError(f"a picture of the evaluation set cannot be read: {error}") from error
    upright.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    flat = Image.new("RGB", upright.size, "white")
    flat.paste(upright, mask=upright.getchannel("A"))
    return min(_encoded(flat, "PNG"), _encoded(flat, "JPEG", quality=_JPEG_QUALITY), key=len)


def _encoded(image: Image.Image, file_format: str, **settings: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, optimize=True, **settings)
    return buffer.getvalue()


def picture_item(pictures: Sequence[Picture], index: int, text: str | None = None) -> Item:
    """Return picture ``index`` of a lazily decoded sequence as an item; errors are those of `thumbnail`."""
    return Item(text=text, picture=thumbnail(pictures[index]))


def most_misjudged(
    first: Sequence[str],
    second: Sequence[str],
    scores: NDArray[np.floating],
    cosines: NDArray[np.floating],
    num_each: int = 4,
) -> tuple[TextPair, ...]:
    """Return the pairs whose rank by cosine is furthest above, and then furthest below, their rank by gold score.

    Args:
        first: N texts.
        second: the N others.
        scores: ``(N,)`` gold.
        cosines: ``(N,)`` of the model.
        num_each: how many of each kind at most.
    """
    excess = rankdata(cosines) - rankdata(scores)
    order = np.argsort(-excess, kind="stable").tolist()
    above = [row for row in order[:num_each] if excess[row] > 0]
    below = [row for row in order[::-1][:num_each] if excess[row] < 0]
    return tuple(TextPair(first[row], second[row], float(scores[row]), float(cosines[row])) for row in above + below)


def choose_examples(
    ranks: NDArray[np.int64], groups: NDArray[np.int64], num_each: int, seed: int
) -> tuple[list[int], list[int]]:
    """Return the indices of up to ``num_each`` successes (rank 1) and as many failures, by chance, one per group.

    Args:
        ranks: ``(Q,)`` int64 from 1.
        groups: ``(Q,)``; no group is shown twice.
        num_each: how many of each kind at most.
        seed: of the draw.
    """
    order = np.random.default_rng(seed).permutation(len(ranks))
    shown: set[int] = set()
    chosen: tuple[list[int], list[int]] = ([], [])
    for index in order.tolist():
        kind = chosen[0] if ranks[index] == 1 else chosen[1]
        if len(kind) < num_each and int(groups[index]) not in shown:
            shown.add(int(groups[index]))
            kind.append(index)
    return chosen
