"""A model as the evaluation package sees it: pictures and texts in, unit vectors out."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.embedder import Embeddings, Picture
from mmcl.data.images import DEFAULT_MAX_PIXELS, decode_image
from mmcl.errors import UserError
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers.lora import merged

Precision = Literal["fp32", "bf16", "fp16"]
Item = TypeVar("Item")


class ModelEmbedder:
    """Encodes with a `TwoTower`, batch by batch, on the device where it is.

    The model is in evaluation mode while it encodes and in its former mode afterwards. An `evaluation.Embedder`.

    Args:
        model: the towers.
        name: what to call it in tables.
        batch_size: pictures or texts encoded at a time.
        precision: of the towers; embeddings are float32 in any case.
        max_pixels: larger pictures are refused from their header.
        pretrained: tag or folder of its weights, for tables.
    """

    def __init__(
        self,
        model: TwoTower,
        name: str,
        *,
        batch_size: int = 64,
        precision: Precision = "fp32",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        pretrained: str = "",
    ) -> None:
        self.model = model
        self.name = name
        self.batch_size = batch_size
        self.precision = precision
        self.max_pixels = max_pixels
        self.pretrained = pretrained

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of weights, preprocessing, tokenizer and precision, taken when first asked for."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        # Shapes do not tell activations or poolings apart; the printed modules do, without their addresses.
        architecture = re.sub(r" at 0x[0-9a-f]+", "", repr(self.model.towers))
        prompts = self.model.prompts
        digest.update(json.dumps([self.preprocessing, self.precision, architecture]).encode())
        if prompts.texts:
            digest.update(json.dumps([dict(prompts.texts), prompts.default]).encode())
        if self.model.tokenizer is not None:
            digest.update(self.model.tokenizer.fingerprint().encode())
        return digest.hexdigest()

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it encodes: ``image``, ``text``, or both."""
        return self.model.towers.modalities

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.model.device

    @property
    def embedding_dim(self) -> int:
        """Width of what it returns."""
        return self.model.embedding_dim

    @property
    def max_tokens(self) -> int | None:
        """Longest text in tokens, the rest is cut off; None without a text tower."""
        return None if self.model.tokenizer is None else self.model.tokenizer.max_length

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What is done to a picture, as plain JSON values; empty for a model without an image tower."""
        return {} if self.model.preprocessing is None else self.model.preprocessing.to_dict()

    @property
    def prompts(self) -> Mapping[str, str]:
        """What can be put before texts, by name; empty for a model without."""
        return self.model.prompts.texts

    def encode_images(self, images: Sequence[Picture]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per picture, in order.

        Args:
            images: PIL images of any mode, or paths.

        Raises:
            mmcl.data.images.UnreadableImage: a picture cannot be decoded.
            mmcl.errors.UserError: the model has no image tower.
        """
        refuse_bare(images, "encode_images", "pictures")
        self.model.towers.require("image")
        return self._encode(images, self._encode_pictures)

    def pixels_of(self, picture: Picture) -> Tensor:
        """Return the ``(3, size, size)`` uint8 that the image tower is given of a picture; safe to call in threads.

        Raises:
            mmcl.data.images.UnreadableImage: it cannot be decoded.
        """
        assert self.model.preprocessing is not None
        return self.model.preprocessing.resize(decode_image(picture, self.max_pixels))

    def encode_pixels(self, pixels: Sequence[Tensor]) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one for each of what `pixels_of` returned, in order."""
        return self._encode(pixels, self._encode_stack)

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> Embeddings:
        """Return ``(N, D)`` float32 rows of unit norm, one per text, in order; those of equal texts are equal.

        Args:
            texts: to encode.
            prompt: name of the model's prompt that goes before each, such as ``query``; by default the model's default
                one, which most models do not have.

        Raises:
            mmcl.errors.UserError: the model has no text tower, or no such prompt.
        """
        refuse_bare(texts, "encode_texts", "texts")
        self.model.towers.require("text")
        distinct, places = by_length(self.model.prompts.before(texts, prompt))
        return self._encode(distinct, self._encode_strings)[places]

    def count_too_long(self, texts: Sequence[str]) -> int:
        """Return how many of the texts have more tokens than the model reads, and are therefore cut."""
        assert self.model.tokenizer is not None
        return self.model.tokenizer.count_too_long(texts)

    def untrained(self, seed: int = 0) -> ModelEmbedder:
        """Return what the same architecture makes of the same input before it has learnt anything.

        All weights are drawn as the architecture starts them; preprocessing, tokenizer, prompts and precision stay.

        Args:
            seed: of the weights; the caller's random state is left alone.

        Raises:
            UserError: the architecture cannot be built again.
        """
        model = deepcopy(merged(self.model)).cpu()  # where a seed means the same weights everywhere
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model.towers.reset()
        return ModelEmbedder(
            model.to(self.device),
            f"{self.name} untrained",
            batch_size=self.batch_size,
            precision=self.precision,
            max_pixels=self.max_pixels,
        )

    def _encode(self, items: Sequence[Item], encode: Callable[[list[Item]], Tensor]) -> Embeddings:
        rows = np.zeros((len(items), self.model.embedding_dim), dtype=np.float32)
        with self._evaluating():
            for start in range(0, len(items), self.batch_size):
                batch = [items[place] for place in range(start, min(start + self.batch_size, len(items)))]
                rows[start : start + len(batch)] = encode(batch).float().cpu().numpy()
        return rows

    def _encode_pictures(self, pictures: list[Picture]) -> Tensor:
        return self._encode_stack([self.pixels_of(picture) for picture in pictures])

    def _encode_stack(self, pixels: list[Tensor]) -> Tensor:
        return self.model.encode_image(torch.stack(pixels).to(self.device)).embeddings

    def _encode_strings(self, texts: list[str]) -> Tensor:
        assert self.model.tokenizer is not None
        return self.model.encode_text(self.model.tokenizer(texts).to(self.device)).embeddings

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]
        try:
            # Not inference_mode: a table that a tower caches in it could not take part in training afterwards.
            with torch.no_grad(), torch.autocast(self.device.type, dtype, enabled=self.precision != "fp32"):
                yield
        finally:
            # Module by module, because a trainer may keep a frozen part in evaluation mode.
            for module, training in modes.items():
                module.training = training


def by_length(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct texts in the order in which they are encoded, and ``(N,)`` where each text is among them.

    The shortest come first: texts of like length share a batch, so that little of it is padding.
    """
    distinct = sorted(dict.fromkeys(texts), key=len)
    place_of = {text: place for place, text in enumerate(distinct)}
    return distinct, np.array([place_of[text] for text in texts], dtype=np.int64)


def refuse_bare(items: object, method: str, what: str) -> None:
    """Refuse a string, which is a sequence too, of letters: embedding those would be no error and no answer."""
    if isinstance(items, (str, Path)):
        raise UserError(f"{method} takes a list of {what}, got {items!r}; wrap it in [ ]")


def load(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    batch_size: int = 64,
    precision: Precision = "fp32",
) -> ModelEmbedder:
    """Load a model to encode pictures and texts with.

    Args:
        name: a run folder, a model folder, a hub id, or open_clip's ``ARCH,TAG`` or ``ARCH,checkpoint.pt``.
        device: where to run; by default a GPU when there is one.
        batch_size: pictures or texts encoded at a time.
        precision: of the towers.

    Raises:
        UserError: there is no such model, or it is neither a joint one nor an exported one.
    """
    name = os.fspath(name)
    model = build_model(ModelConfig(name=name))
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    architecture, _, tag = name.partition(",")
    return ModelEmbedder(
        model,
        architecture if tag else name,
        batch_size=batch_size,
        precision=precision,
        pretrained=tag or name,
    )
