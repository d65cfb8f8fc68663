"""One embedder on several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np

from evaluation.embedder import (
    Embedder,
    Embeddings,
    Picture,
    Truncating,
    encode_behind,
    precision_of,
    prompts_of,
    untrained_of,
)
from mmcl import distributed
from mmcl.embedder import by_length
from mmcl.objectives.views import MODALITIES

Item = TypeVar("Item")

_BATCH_SIZE = 64
"""Of an embedder that does not tell."""


@dataclass(frozen=True)
class ShardedEmbedder:
    """Encodes a share of the batches on each process and gives every process the whole, each row encoded once.

    Batches are those that one process would make, because what a row becomes depends in its last bits on the rows and
    the padding of its batch: the embeddings are those of one process that computes with as many threads. Every process
    must call it with the same rows.

    Attributes:
        embedder: does the work on this process.
    """

    embedder: Embedder

    @property
    def name(self) -> str:
        return self.embedder.name

    @property
    def fingerprint(self) -> str:
        return self.embedder.fingerprint

    @property
    def pretrained(self) -> str:
        return str(getattr(self.embedder, "pretrained", ""))

    @property
    def preprocessing(self) -> dict[str, Any]:
        return dict(getattr(self.embedder, "preprocessing", {}))

    @property
    def precision(self) -> str:
        return precision_of(self.embedder)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(getattr(self.embedder, "modalities", MODALITIES))

    @property
    def prompts(self) -> Mapping[str, str]:
        return prompts_of(self.embedder)

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, in order."""
        return self._encode_batches(images, self.embedder.encode_images)

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, in order."""
        distinct, places = by_length(texts)
        return self._encode_batches(distinct, lambda mine: encode_behind(self.embedder, mine, prompt))[places]

    def untrained(self, seed: int = 0) -> ShardedEmbedder | None:
        """Return the embedder's untrained self, sharded too; None for one that cannot be rebuilt."""
        untrained = untrained_of(self.embedder, seed)
        return None if untrained is None else ShardedEmbedder(untrained)

    def count_too_long(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are cut; 0 for an embedder that does not tell."""
        return self.embedder.count_too_long(texts) if isinstance(self.embedder, Truncating) else 0

    def _encode_batches(self, items: Sequence[Item], encode: Callable[[Sequence[Item]], Embeddings]) -> Embeddings:
        size, mine = int(getattr(self.embedder, "batch_size", _BATCH_SIZE)), []
        for start in range(distributed.rank() * size, len(items), distributed.world_size() * size):
            batch = [items[place] for place in range(start, min(start + size, len(items)))]
            mine.append((start, encode(batch)))
        shares = distributed.gather_objects(mine)
        parts = sorted(chain.from_iterable(shares), key=itemgetter(0))
        return np.concatenate([rows for _, rows in parts])
