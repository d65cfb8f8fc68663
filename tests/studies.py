"""Models and data that studies are made of in tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.embedder import Embeddings, Picture
from mmcl.data.images import decode_image
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from tests.tiny import save_tokenizer, vit_bert_pair


def save_models(folder: Path, names: Sequence[str] = ("a", "b")) -> list[str]:
    """Export pairs of different weights as ``folder/<name>``."""
    tokenizer = save_tokenizer(folder / "tokenizer")
    for seed, name in enumerate(names, start=1):
        export_model(build_model(vit_bert_pair(tokenizer), seed=seed), folder / name, ModelCardFacts(name))
    return [str(folder / name) for name in names]


class ByColour:
    """Embeds a picture by its mean colour and a text by its letters; counts what it is asked for."""

    def __init__(self, name: str = "by colour", fingerprint: str = "1") -> None:
        self.name, self.fingerprint = name, fingerprint
        self.num_pictures = self.num_texts = 0

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        self.num_pictures += len(images)
        means = [np.asarray(decode_image(image), dtype=np.float32).mean(axis=(0, 1)) for image in images]
        return _unit(np.array(means, dtype=np.float32) + 1)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        self.num_texts += len(texts)
        return _unit(np.array([[len(text), text.count("a") + 1, 1] for text in texts], dtype=np.float32))


def _unit(rows: Embeddings) -> Embeddings:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
