"""Embeddings on disk, under a key that covers everything that can change them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from evaluation.embedder import Embedder, Embeddings, precision_of
from evaluation.results import library_versions
from mmcl.errors import writing
from mmcl.item_digests import Digests
from mmcl.vectors.parts import written_whole

FORMAT = 1
_ENCODING_LIBRARIES = (
    *("mmcl", "numpy", "pillow", "torch", "torchvision", "transformers", "tokenizers", "timm", "open_clip_torch"),
    "sentence-transformers",
)
_ROWS = "embeddings"


class FeatureCache:
    """A folder of embeddings, one safetensors file for each model and sequence of pictures or texts.

    Args:
        folder: made when something is first kept.
        digests: of what is encoded.
        tell: called with a line for each file that is damaged.
    """

    def __init__(self, folder: Path, digests: Digests, tell: Callable[[str], None]) -> None:
        self.folder, self.digests, self.tell = folder, digests, tell

    def of(self, embedder: Embedder) -> ModelFeatures:
        """Return the part that belongs to a model."""
        return ModelFeatures(self, embedder)


class ModelFeatures:
    """What a `FeatureCache` holds of one model: an `evaluation.cached_embedder.FeatureStore`.

    The key is a SHA-256 sum over the model's name and fingerprint (weights, preprocessing, tokenizer, prompts),
    precision, device and batch size, the items by `Digests`, the kind, and the versions of the libraries that encode.
    """

    def __init__(self, cache: FeatureCache, embedder: Embedder) -> None:
        self._cache, self._name = cache, embedder.name
        self._model = {
            "format": FORMAT,
            "name": embedder.name,  # the fingerprint of anybody's object may be "1"
            "fingerprint": embedder.fingerprint,
            "precision": precision_of(embedder),
            "device": str(getattr(embedder, "device", "")),
            "batch_size": getattr(embedder, "batch_size", None),
            "versions": library_versions(_ENCODING_LIBRARIES),
        }

    def load(self, items: Sequence[Any], kind: str) -> Embeddings | None:
        """Return the ``(N, D)`` embeddings of items; None where they are not there, or the file is damaged."""
        path = self._path(items, kind)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                rows: Embeddings = file.get_tensor(_ROWS)
                kept_whole = (file.metadata() or {}).get("sha256") == _sum(rows)
        except (SafetensorError, OSError, ValueError) as error:
            self._cache.tell(f"{path} is damaged ({str(error).splitlines()[0]}); encoding again")
            return None
        if not kept_whole or len(rows) != len(items):
            self._cache.tell(f"{path} is damaged; encoding again")
            return None
        return rows

    def save(self, items: Sequence[Any], kind: str, rows: Embeddings) -> None:
        """Keep the ``(N, D)`` embeddings of items, written aside and renamed; not such as no task would take.

        Raises:
            UserError: the folder cannot be written.
        """
        if not np.isfinite(rows).all():
            return
        path = self._path(items, kind)
        about = {"model": self._name, "kind": kind, "num_rows": str(len(rows)), "sha256": _sum(rows)}
        with writing(self._cache.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as aside:
                save_file({_ROWS: np.ascontiguousarray(rows)}, aside, metadata=about)

    def _path(self, items: Sequence[Any], kind: str) -> Path:
        digests = self._cache.digests
        items_sum = digests.of_pictures(items) if kind == "images" else digests.of(items)
        key = json.dumps([self._model, kind, items_sum], sort_keys=True)
        return self._cache.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"


def _sum(rows: Embeddings) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
