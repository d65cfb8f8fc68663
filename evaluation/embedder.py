"""What this package can judge: anything that turns pictures and texts into vectors of one space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture: TypeAlias = Image.Image | str | Path
Embeddings: TypeAlias = NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """A model seen from outside."""

    @property
    def name(self) -> str:
        """What to call it in tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """A string that changes whenever its embeddings may change: a hash of weights and preprocessing."""
        ...

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per picture, in order."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per text, in order."""
        ...


@runtime_checkable
class Described(Protocol):
    """What an embedder may tell about itself besides; result files carry it where it does."""

    @property
    def pretrained(self) -> str:
        """Tag or folder of its weights, as CLIP_benchmark's column of that name."""
        ...

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What is done to a picture before the model sees it, as plain JSON values."""
        ...


def precision_of(embedder: Embedder) -> str:
    """Return the precision in which an embedder encodes, such as ``fp32``; empty for one that does not tell."""
    return str(getattr(embedder, "precision", ""))


def modalities_of(embedder: Embedder) -> tuple[str, ...]:
    """Return what an embedder encodes, of ``image`` and ``text``; both for one that does not tell."""
    return tuple(getattr(embedder, "modalities", ("image", "text")))


@runtime_checkable
class Truncating(Protocol):
    """An embedder that knows which texts it does not read to their end; the STS task says so where there are any."""

    def count_too_long(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are longer than the model reads, and are therefore cut."""
        ...


@runtime_checkable
class Rebuildable(Protocol):
    """An embedder that can be had as it was before it learnt anything; tasks judge that too, as a baseline."""

    def untrained(self, seed: int = 0) -> Embedder | None:
        """Return the same architecture with fresh weights, the same preprocessing and tokenizer; None for want of one.

        Args:
            seed: of the weights; equal seeds give equal ones.
        """
        ...


def untrained_of(embedder: Embedder, seed: int = 0) -> Embedder | None:
    """Return an embedder's untrained self; None for one that cannot be rebuilt."""
    return embedder.untrained(seed) if isinstance(embedder, Rebuildable) else None


@runtime_checkable
class Prompted(Protocol):
    """An embedder that can put prompts before texts, such as E5's ``query: ``."""

    @property
    def prompts(self) -> Mapping[str, str]:
        """The prompts by name, such as ``query`` and ``document``; empty where there are none."""
        ...

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per text behind the prompt of a name, in order."""
        ...


def prompts_of(embedder: Embedder) -> Mapping[str, str]:
    """Return an embedder's prompts by name; empty for one that knows none."""
    return embedder.prompts if isinstance(embedder, Prompted) else {}


def encode_behind(embedder: Embedder, texts: Sequence[str], prompt: str | None) -> Embeddings:
    """Return what an embedder makes of texts behind one of its prompts; without one, as any embedder encodes them."""
    if prompt is None:
        return embedder.encode_texts(texts)
    assert isinstance(embedder, Prompted)
    return embedder.encode_texts(texts, prompt=prompt)
