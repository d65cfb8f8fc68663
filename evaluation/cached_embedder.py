"""Several tasks on the same rows, each picture and text encoded once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from evaluation.embedder import (
    Described,
    Embedder,
    Embeddings,
    Picture,
    Truncating,
    encode_behind,
    precision_of,
    prompts_of,
    untrained_of,
)

T = TypeVar("T")


class CachedEmbedder:
    """An embedder that remembers what it has encoded, by the identity of the sequence it was given.

    Tasks built on the same sequence object share its embeddings. The sequences are kept alive and taken not to change;
    make one such embedder per evaluation and drop it afterwards.

    Args:
        embedder: does the work.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self.fingerprint = embedder.fingerprint
        described = embedder if isinstance(embedder, Described) else None
        self.pretrained: str = described.pretrained if described else ""
        self.preprocessing: Mapping[str, Any] = described.preprocessing if described else {}
        self.precision: str = precision_of(embedder)
        self._embedder = embedder
        self._images: dict[int, tuple[Sequence[Picture], Embeddings]] = {}
        self.prompts: Mapping[str, str] = prompts_of(embedder)
        self._untrained: dict[int, CachedEmbedder | None] = {}
        self._texts: dict[str | None, dict[int, tuple[Sequence[str], Embeddings]]] = defaultdict(dict)

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm; the same array for the same sequence object."""
        return _remembered(self._images, images, self._embedder.encode_images)

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm; the same array for the same sequence object and prompt."""
        return _remembered(self._texts[prompt], texts, lambda given: encode_behind(self._embedder, given, prompt))

    def untrained(self, seed: int = 0) -> CachedEmbedder | None:
        """Return the embedder's untrained self, which remembers too; None for one that cannot be rebuilt."""
        if seed not in self._untrained:
            untrained = untrained_of(self._embedder, seed)
            self._untrained[seed] = None if untrained is None else CachedEmbedder(untrained)
        return self._untrained[seed]

    def count_too_long(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are cut; 0 for an embedder that does not tell."""
        return self._embedder.count_too_long(texts) if isinstance(self._embedder, Truncating) else 0


def _remembered(
    known: dict[int, tuple[Sequence[T], Embeddings]],
    items: Sequence[T],
    encode: Callable[[Sequence[T]], Embeddings],
) -> Embeddings:
    # The sequence is stored beside its embeddings so that its id cannot pass to another object.
    if id(items) not in known:
        known[id(items)] = (items, encode(items))
    return known[id(items)][1]
