"""What a model has to beat: embedders that have learnt nothing."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from evaluation.embedder import Embeddings, Picture
from evaluation.errors import EvaluationError

MAX_BYTES = 2**32
"""The largest matrix of word counts that is made at once."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana and Chinese characters: scripts written without spaces between words."""
_RUN = re.compile(f"([{_UNSPACED}]+)|[^\\W{_UNSPACED}]+")


@dataclass(frozen=True)
class RawPixels:
    """Pictures as their pixels: resized to a square, flattened, of unit norm. An `Embedder` of pictures alone.

    Each channel runs from -1 (black) to 1 (white), so that dark on light and light on dark are as easy, and no picture
    is the zero vector: the 8-bit levels have no exact middle.

    Attributes:
        side: of the square in pixels, at least 1; resized bicubically, which keeps no aspect ratio.
        mode: ``RGB`` for three values per pixel, ``L`` for its grey level.

    Raises:
        EvaluationError: a side or mode that is not one of these.
    """

    side: int = 32
    mode: Literal["RGB", "L"] = "RGB"

    def __post_init__(self) -> None:
        if self.side < 1:
            raise EvaluationError(f"side must be >= 1, got {self.side}")
        if self.mode not in ("RGB", "L"):
            raise EvaluationError(f'mode must be RGB or L, got "{self.mode}"')

    @property
    def name(self) -> str:
        """What to call it in tables."""
        return "raw pixels"

    @property
    def fingerprint(self) -> str:
        """Of the settings; there are no weights."""
        return f"raw-pixels-{self.mode}-{self.side}"

    @property
    def pretrained(self) -> str:
        """Empty: there are no weights."""
        return ""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What is done to a picture."""
        return {"resize": [self.side, self.side], "mode": self.mode, "interpolation": "bicubic", "range": [-1, 1]}

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, side * side * channels)`` float32 rows of unit norm, one per picture, in order.

        Raises:
            EvaluationError: a picture that cannot be opened.
        """
        rows = np.stack([self._pixels(images[index]) for index in range(len(images))])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Refuse: texts have no pixels.

        Raises:
            EvaluationError: always.
        """
        raise EvaluationError("raw pixels embed pictures and no texts")

    def _pixels(self, picture: Picture) -> NDArray[np.float64]:
        try:
            image = picture if isinstance(picture, Image.Image) else Image.open(Path(picture))
            upright = ImageOps.exif_transpose(image).convert(self.mode)
        except OSError as error:
            raise EvaluationError(f"a picture cannot be read: {error}") from error
        square = upright.resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(square, dtype=np.float64).ravel() / 127.5 - 1


def terms_of(text: str) -> list[str]:
    """Return the terms of a text, which is compared in NFKC form and case folded.

    Words, of one letter or digit and more. A run of a script that is written without spaces between words (Chinese,
    Japanese, Thai, Lao, Khmer, Burmese) gives its characters and its pairs of neighbouring characters instead.
    """
    terms = []
    for run in _RUN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        terms += [*run[0], *map("".join, zip(run[0], run[0][1:], strict=False))] if run[1] else [run[0]]
    return terms


class BagOfWords:
    """Texts as how often each term occurs in them, of unit norm. An `Embedder` of texts alone.

    Terms are those of `terms_of`; those that no text it was fitted on has count for nothing. The last dimension is 1
    for a text that is left without any, and 0 for all others, so that every row has a norm.

    Args:
        texts: what to learn the terms from, at least one term among them.

    Raises:
        EvaluationError: texts without a term.
    """

    name = "bag of words"
    pretrained = ""

    def __init__(self, texts: Sequence[str]) -> None:
        self._vectorizer = self._new_vectorizer()
        try:
            self._vectorizer.fit(texts)
        except ValueError as error:
            raise EvaluationError(f"a {self.name} needs texts with words, got {len(texts)} without any") from error

    @property
    def fingerprint(self) -> str:
        """Of the terms, and of what they weigh."""
        terms = sorted(self._vectorizer.vocabulary_.items())
        weights = getattr(self._vectorizer, "idf_", np.empty(0)).tolist()
        return hashlib.sha256(f"{self.name} {terms} {weights}".encode()).hexdigest()

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Empty: it takes no pictures."""
        return {}

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Refuse: pictures have no words.

        Raises:
            EvaluationError: always.
        """
        raise EvaluationError(f"a {self.name} embeds texts and no pictures")

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Return ``(N, terms + 1)`` float32 rows of unit norm, one per text, in order.

        Raises:
            EvaluationError: more texts than fit into `MAX_BYTES`; nothing is left out to make them fit.
        """
        from scipy.sparse import csr_matrix, hstack
        from sklearn.preprocessing import normalize

        width = len(self._vectorizer.vocabulary_) + 1
        if 4 * len(texts) * width > MAX_BYTES:
            raise EvaluationError(
                f"a {self.name} of {width:,} dimensions takes at most {MAX_BYTES // (4 * width):,} texts at once, "
                f"got {len(texts):,}"
            )
        counts = normalize(self._vectorizer.transform(texts))
        has_no_term = np.diff(counts.indptr) == 0
        return np.asarray(hstack([counts, csr_matrix(has_no_term[:, None], dtype=np.float32)]).toarray())

    def _new_vectorizer(self) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer

        return CountVectorizer(analyzer=terms_of, dtype=np.float32)


class TFIDF(BagOfWords):
    """A `BagOfWords` in which a term weighs more the fewer texts have it.

    A count times ln((1 + N) / (1 + n)) + 1, for a term that n of the N texts fitted on have: scikit-learn's TF-IDF.
    """

    name = "TF-IDF"

    def _new_vectorizer(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(analyzer=terms_of, dtype=np.float32)
