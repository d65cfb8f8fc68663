"""The least that a model of pictures and texts has to beat: words guessed by a linear map of the pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from evaluation.baselines import BagOfWords, RawPixels
from evaluation.embedder import Embeddings, Picture
from evaluation.errors import EvaluationError


class BagOfWordsRidge:
    """Pictures as the bag of words that ridge regression on their pixels expects of their caption. An `Embedder`.

    Texts are their bag of words, see `BagOfWords`; a picture and a text are alike as far as the words that a linear map
    of the pixels expects are those of the text. Words of no caption learnt from count for nothing.

    Args:
        images: N pictures to learn from.
        texts: the N captions, words among them.
        pixels: how pictures become features.
        alpha: weight of the squared norm of the map, above 0; features are of unit norm.

    Raises:
        EvaluationError: no pictures, lengths that differ, captions without words or with too many, an alpha that is not
            above 0, or a picture that cannot be opened.
    """

    name = "bag-of-words ridge"
    pretrained = ""

    def __init__(
        self, images: Sequence[Picture], texts: Sequence[str], pixels: RawPixels | None = None, alpha: float = 0.1
    ) -> None:
        from sklearn.linear_model import Ridge

        if len(images) != len(texts) or len(images) == 0:
            raise EvaluationError(f"every picture needs one caption, got {len(images)} pictures, {len(texts)} captions")
        if not alpha > 0:
            raise EvaluationError(f"alpha must be > 0, got {alpha}")
        self._pixels, self._words = pixels or RawPixels(), BagOfWords(texts)
        self._map = Ridge(alpha=alpha)
        # In float64: neighbouring pixels are so alike that the normal equations are ill-conditioned in float32.
        self._map.fit(self._pixels.encode_images(images).astype(np.float64), self._words.encode_texts(texts))

    @cached_property
    def fingerprint(self) -> str:
        """Of the map, the words and how pictures become features."""
        digest = hashlib.sha256(f"{self._pixels.fingerprint} {self._words.fingerprint}".encode())
        digest.update(np.ascontiguousarray(self._map.coef_).data)
        digest.update(np.ascontiguousarray(self._map.intercept_).data)
        return digest.hexdigest()

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What is done to a picture."""
        return self._pixels.preprocessing

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, terms + 1)`` float32 rows of unit norm, one per picture, in order.

        Raises:
            EvaluationError: a picture that cannot be opened.
        """
        expected = self._map.predict(self._pixels.encode_images(images))
        return np.asarray(expected / np.linalg.norm(expected, axis=1, keepdims=True), dtype=np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Return ``(N, terms + 1)`` float32 rows of unit norm, one per text, in order; see `BagOfWords`."""
        return self._words.encode_texts(texts)
