"""What this package can judge: anything that turns pictures and texts into vectors of one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture: TypeAlias = Image.Image | str | Path
Embeddings: TypeAlias = NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """A model seen from outside.

    Attributes:
        name: what to call it in tables.
        fingerprint: changes whenever its embeddings may change (a hash of weights and preprocessing).
    """

    name: str
    fingerprint: str

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per picture, in order."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per text, in order."""
        ...
