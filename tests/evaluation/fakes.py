"""An embedder without a model: a picture's colour and a text's words stand for vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 200, 0),
    "cyan": (0, 220, 255),
    "white": (255, 255, 255),
}


def picture(colour: str, brightness: float = 1.0) -> Image.Image:
    """A picture of one colour."""
    return Image.new("RGB", (8, 8), tuple(int(brightness * part) for part in COLOURS[colour]))


def picture_vector(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=np.float64).mean(axis=(0, 1)) + 1e-3


def text_vector(text: str) -> np.ndarray:
    """The mean colour of the colours a text names; grey where it names none."""
    named = [np.array(rgb, dtype=np.float64) for name, rgb in COLOURS.items() if name in text]
    return np.mean(named, axis=0) + 1e-3 if named else np.ones(3)


def unit(rows: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(rows)
    return (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).astype(np.float32)


class ColourEmbedder:
    """Embeds pictures and texts of colours into RGB space, and counts what it was asked."""

    name = "colours"
    fingerprint = "c0ffee"

    def __init__(self) -> None:
        self.num_images = 0
        self.num_texts = 0

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.num_images += len(images)
        return unit([picture_vector(images[index]) for index in range(len(images))])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.num_texts += len(texts)
        return unit([text_vector(text) for text in texts])


class PromptedColours(ColourEmbedder):
    """Has prompts, and perhaps one before every text."""

    def __init__(self, prompts: Mapping[str, str], default: str = "") -> None:
        super().__init__()
        self.prompts, self.default = prompts, default

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> np.ndarray:
        before = self.default if prompt is None else self.prompts[prompt]
        return super().encode_texts([before + text for text in texts])


class RebuildableColours(ColourEmbedder):
    """Untrained, it sees pure colours only, and reads a colour for another by the seed."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed
        self.fingerprint = f"c0ffee {seed}"

    def untrained(self, seed: int = 0) -> RebuildableColours:
        return RebuildableColours(seed)

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        rows = super().encode_images(images)
        return rows if self.seed is None else unit(list(rows**4))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = super().encode_texts(texts)
        return rows if self.seed is None else np.roll(rows, self.seed + 1, axis=1)


class CollapsedEmbedder(ColourEmbedder):
    """Sees no difference between anything."""

    name = "collapsed"

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return unit([np.array([1.0, 2.0, 3.0])] * len(images))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return unit([np.array([1.0, 2.0, 3.0])] * len(texts))


class AngleEmbedder:
    """Embeds a text that ends in a number into the plane, at that angle in degrees, and counts what it was asked."""

    name = "angles"
    fingerprint = "a41e"

    def __init__(self) -> None:
        self.num_texts = 0

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        raise AssertionError("a task of texts asks for no pictures")

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.num_texts += len(texts)
        angles = np.radians([float(text.split()[-1]) for text in texts])
        return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


class LazyPictures(Sequence[Image.Image]):
    """Pictures made when asked for, by index only, each asking counted."""

    def __init__(self, colours: Sequence[str]) -> None:
        self.colours = colours
        self.num_decoded = 0

    def __len__(self) -> int:
        return len(self.colours)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        assert isinstance(index, int), "one picture at a time, by a plain index"
        self.num_decoded += 1
        return picture(self.colours[index])
