"""Labelled pictures that a mean colour can almost tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("green", "purple", "red")
_COLOURS = {"red": (180, 70, 60), "green": (80, 170, 60), "purple": (130, 60, 160)}


class NoisyPictures(Sequence[Image.Image]):
    """Pictures of one colour each, near that of their class, made when asked for."""

    def __init__(self, labels: Sequence[str], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.colours = [np.clip(rng.normal(_COLOURS[label], 45), 1, 255).astype(int).tolist() for label in labels]
        self.num_decoded = 0

    def __len__(self) -> int:
        return len(self.colours)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        self.num_decoded += 1
        return Image.new("RGB", (8, 8), tuple(self.colours[index]))


def labelled_rows(num_train: int = 60, num_test: int = 45, **changes: Any) -> dict[str, Any]:
    """Fields of a task: rows of three classes, the classes in turn."""
    train = [CLASSES[row % 3] for row in range(num_train)]
    test = [CLASSES[row % 3] for row in range(num_test)]
    return {
        "train_images": NoisyPictures(train, seed=0),
        "train_labels": train,
        "images": NoisyPictures(test, seed=1),
        "labels": test,
        "dataset": "colours",
        "resamples": 200,
        **changes,
    }


def indices(labels: Sequence[str]) -> np.ndarray:
    return np.array([CLASSES.index(label) for label in labels])
