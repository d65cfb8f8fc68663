"""Several models in one pass over the pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from evaluation import CachedEmbedder
from evaluation.embedder import Picture


def encode_images_once(images: Sequence[Picture], models: Sequence[CachedEmbedder], batch_size: int) -> None:
    """Encode pictures with several models, each picture decoded once and each model with its own preprocessing.

    What a model makes of a picture is what it makes of it alone: it is given the same batches. No more than one batch
    of pictures is held decoded.

    Args:
        images: decoded when asked for.
        models: they remember the embeddings; those that are known already are not made again.
        batch_size: of the models.
    """
    missing = [model for model in models if not model.knows_images(images)]
    if not missing:
        return
    rows: list[list[Any]] = [[] for _ in missing]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        for start in range(0, len(images), batch_size):
            stop = min(start + batch_size, len(images))
            batch = list(threads.map(images.__getitem__, range(start, stop)))
            for found, model in zip(rows, missing, strict=True):
                found.append(model.embedder.encode_images(batch))
    for found, model in zip(rows, missing, strict=True):
        model.remember_images(images, np.concatenate(found))
