"""Several tasks on the same rows, each picture and text encoded once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from evaluation.corruptions import CorruptedPictures
from evaluation.embedder import (
    Described,
    Embedder,
    Embeddings,
    Picture,
    Truncating,
    encode_behind,
    modalities_of,
    precision_of,
    prompts_of,
    untrained_of,
)


class FeatureStore(Protocol):
    """Embeddings of one model that outlast the process."""

    def load(self, items: Sequence[Any], kind: str) -> Embeddings | None:
        """Return the ``(N, D)`` embeddings of items, None where they are not there.

        Args:
            items: pictures or texts.
            kind: ``images``, ``texts``, or ``texts`` and the name of the prompt before them.
        """
        ...

    def save(self, items: Sequence[Any], kind: str, rows: Embeddings) -> None:
        """Keep the ``(N, D)`` embeddings of items."""
        ...


class FeatureStores(Protocol):
    """Has a store for every model."""

    def of(self, embedder: Embedder) -> FeatureStore:
        """Return the store of a model."""
        ...


class CachedEmbedder:
    """An embedder that remembers what it has encoded, by the identity of the sequence it was given.

    Tasks built on the same sequence object share its embeddings. The sequences are kept alive and taken not to change;
    make one such embedder per evaluation and drop it afterwards.

    Args:
        embedder: does the work.
        stores: where embeddings are looked for before they are made, and kept afterwards; by default nowhere.

    Attributes:
        embedder: does the work.
    """

    def __init__(self, embedder: Embedder, stores: FeatureStores | None = None) -> None:
        self.name = embedder.name
        self.fingerprint = embedder.fingerprint
        described = embedder if isinstance(embedder, Described) else None
        self.pretrained: str = described.pretrained if described else ""
        self.preprocessing: Mapping[str, Any] = described.preprocessing if described else {}
        self.precision: str = precision_of(embedder)
        self.modalities: tuple[str, ...] = modalities_of(embedder)
        self.embedder, self._stores = embedder, stores
        self._store = None if stores is None else stores.of(embedder)
        self._untrained: dict[int, CachedEmbedder | None] = {}
        self.prompts: Mapping[str, str] = prompts_of(embedder)
        self._images: dict[int, tuple[Sequence[Picture], Embeddings]] = {}
        self._texts: dict[str | None, dict[int, tuple[Sequence[str], Embeddings]]] = defaultdict(dict)

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm; the same array for the same sequence object."""
        if isinstance(images, CorruptedPictures):  # asked for once, and fifty times as many as there are pictures
            return self.embedder.encode_images(images)
        if not self.knows_images(images):
            self.remember_images(images, self.embedder.encode_images(images))
        return self._images[id(images)][1]

    def knows_images(self, images: Sequence[Picture]) -> bool:
        """Return whether the embeddings of a sequence are there, or in the store."""
        if id(images) not in self._images and self._store is not None:
            rows = self._store.load(images, "images")
            if rows is not None:
                self._images[id(images)] = (images, rows)
        return id(images) in self._images

    def remember_images(self, images: Sequence[Picture], rows: Embeddings) -> None:
        """Take ``(N, D)`` rows for the embeddings of a sequence, and keep them in the store."""
        # The sequence is stored beside its embeddings so that its id cannot pass to another object.
        self._images[id(images)] = (images, rows)
        if self._store is not None:
            self._store.save(images, "images", rows)

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm; the same array for the same sequence object and prompt."""
        known = self._texts[prompt]
        if id(texts) not in known:
            known[id(texts)] = (texts, self._stored_texts(texts, prompt))
        return known[id(texts)][1]

    def _stored_texts(self, texts: Sequence[str], prompt: str | None) -> Embeddings:
        kind = "texts" if prompt is None else f"texts {prompt}"
        rows = None if self._store is None else self._store.load(texts, kind)
        if rows is None:
            rows = encode_behind(self.embedder, texts, prompt)
            if self._store is not None:
                self._store.save(texts, kind, rows)
        return rows

    def untrained(self, seed: int = 0) -> CachedEmbedder | None:
        """Return the embedder's untrained self, which remembers too; None for one that cannot be rebuilt."""
        if seed not in self._untrained:
            untrained = untrained_of(self.embedder, seed)
            self._untrained[seed] = None if untrained is None else CachedEmbedder(untrained, self._stores)
        return self._untrained[seed]

    def count_too_long(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are cut; 0 for an embedder that does not tell."""
        return self.embedder.count_too_long(texts) if isinstance(self.embedder, Truncating) else 0
