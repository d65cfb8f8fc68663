"""A model of sentence-transformers run by that library, where there is no form for its modules here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download

from evaluation.embedder import Embeddings, Picture
from mmcl.data.images import decode_image
from mmcl.embedder import Precision, refuse_bare
from mmcl.errors import UserError
from mmcl.towers.towers import Modality

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class SentenceEmbedder:
    """Encodes as ``SentenceTransformer.encode`` does. An `evaluation.Embedder`.

    Args:
        name: a folder or hub id of sentence-transformers.
        modalities: what it encodes.
        device: where to run; by default a GPU when there is one.
        batch_size: pictures or texts encoded at a time.
        precision: of the model; embeddings are float32 in any case.

    Raises:
        UserError: the library is not installed, or cannot open the model.
    """

    preprocessing: Mapping[str, Any] = {}

    def __init__(
        self,
        name: str,
        modalities: tuple[Modality, ...],
        device: str | torch.device | None = None,
        batch_size: int = 64,
        precision: Precision = "fp32",
    ) -> None:
        if find_spec("sentence_transformers") is None:
            raise UserError(f"{name} needs sentence-transformers: pip install sentence-transformers")
        from sentence_transformers import SentenceTransformer

        self.name = self.pretrained = name
        self.modalities, self.batch_size, self.precision = modalities, batch_size, precision
        try:
            self._folder = Path(name if Path(name).is_dir() else snapshot_download(name))
            self.model = SentenceTransformer(str(self._folder), device=None if device is None else str(device))
        except (OSError, ValueError, RuntimeError, ImportError, KeyError, AttributeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"sentence-transformers cannot open {name}: {reason}") from error

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the model's files and the precision, taken when first asked for."""
        digest = hashlib.sha256(self.precision.encode())
        for path in sorted(file for file in self._folder.rglob("*") if file.is_file()):
            digest.update(str(path.relative_to(self._folder)).encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        found: torch.device = self.model.device
        return found

    @property
    def prompts(self) -> Mapping[str, str]:
        """What can be put before texts, by name."""
        found: Mapping[str, str] = self.model.prompts
        return found

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per picture, in order.

        Raises:
            mmcl.data.images.UnreadableImage: a picture cannot be decoded.
            mmcl.errors.UserError: the model does not encode pictures.
        """
        refuse_bare(images, "encode_images", "pictures")
        if "image" not in self.modalities:
            raise UserError(f"{self.name} has no image tower: it is a model of texts alone")
        starts = range(0, len(images), self.batch_size)
        return self._joined(
            [
                self._encode([decode_image(image) for image in images[start : start + self.batch_size]])
                for start in starts
            ]
        )

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per text, in order.

        Args:
            texts: to encode.
            prompt: name of the model's prompt that goes before each; by default the model's default one.
        """
        refuse_bare(texts, "encode_texts", "texts")
        if prompt is not None and prompt not in self.prompts:
            raise UserError(f'the model has no prompt "{prompt}" (it has {", ".join(self.prompts) or "none"})')
        return self._joined([self._encode(list(texts), prompt_name=prompt)] if len(texts) else [])

    def _encode(self, items: list[Any], **options: Any) -> Embeddings:
        with self._in_precision():
            rows: Embeddings = self.model.encode(
                items, batch_size=self.batch_size, show_progress_bar=False, normalize_embeddings=True, **options
            )
        rows = rows.astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # half precision errs by a thousandth

    def _joined(self, parts: list[Embeddings]) -> Embeddings:
        return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)

    @contextmanager
    def _in_precision(self) -> Iterator[None]:
        with torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32"):
            yield
