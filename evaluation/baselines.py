"""What a model has to beat: embedders that have learnt nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from evaluation.embedder import Embeddings, Picture
from evaluation.errors import EvaluationError


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
