"""A table of token vectors (skip-gram's, arXiv:1310.4546) as a text tower: a text is the mean of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.batch import TokenBatch
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_model import STATIC, TextTowerConfig
from mmcl.text.tokenizer import HuggingFaceTokenizer, check_ids_fit, load_tokenizer, longest_text
from mmcl.towers.description import EMBEDDING_KEY, Description
from mmcl.towers.source import locate_tower
from mmcl.towers.towers import LoadedTowers, Output, Towers, freeze_unused, probe
from mmcl.towers.weights import read_weights


class StaticTokenizer(HuggingFaceTokenizer):
    """A transformers tokenizer that adds no special tokens, as sentence-transformers' ``StaticEmbedding`` wants it.

    A text without any token is all padding: its mask is zero.
    """

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        rows = self._rows(texts, truncation=True, max_length=self.max_length)
        # One position at least, for a batch of nothing but empty texts.
        width = max(1, *(len(row) for row in rows))
        mask = (torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]).long()
        padded = [row + [self.backend.pad_token_id] * (width - len(row)) for row in rows]
        return TokenBatch(torch.tensor(padded, dtype=torch.long), mask)

    def count_too_long(self, texts: Sequence[str]) -> int:
        return sum(len(row) > self.max_length for row in self._rows(texts, verbose=False))

    def _rows(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        encoded = self.backend(list(texts), add_special_tokens=False, return_attention_mask=False, **options)
        rows: list[list[int]] = encoded["input_ids"]
        return rows

    def save(self, folder: Path) -> None:
        """Write the files that ``AutoTokenizer`` and ``StaticEmbedding`` load; the latter cuts where the file says."""
        fast = self.backend.backend_tokenizer
        fast.no_padding()
        fast.enable_truncation(self.max_length)
        super().save(folder)
        fast.no_truncation()

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} static"


class StaticTower(Towers):
    """The mean of token vectors; a text without tokens is the zero vector, which has no direction.

    Args:
        num_tokens: V, rows of the table.
        dim: D, width of the table.

    Attributes:
        embedding: the table; ``embedding.weight`` is ``(V, D)``.
    """

    def __init__(self, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.modalities = ("text",)
        self.embedding_dim = self.text_dim = dim
        self.image_dim = 0
        self.embedding = nn.Embedding(num_tokens, dim)
        self.reset()

    def reset(self) -> None:
        """Draw the vectors as word2vec starts them, from torch's generator."""
        nn.init.uniform_(self.embedding.weight, -0.5 / self.embedding_dim, 0.5 / self.embedding_dim)

    def encode_image(self, pixels: Tensor) -> Output:
        self.require("image")
        raise AssertionError("a static tower never has the modality")

    def encode_text(self, tokens: TokenBatch) -> Output:
        weights = tokens.attention_mask.unsqueeze(-1).to(self.embedding.weight.dtype)
        features = (self.embedding(tokens.input_ids) * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return features, features


def build_static(tower: TextTowerConfig) -> LoadedTowers:
    """Return the static tower that a recipe describes; random vectors from torch's generator.

    Raises:
        UserError: a mistaken configuration, a pooling other than the mean, or a tokenizer that does not fit.
    """
    if tower.pooling not in ("auto", "mean"):
        raise UserError(f"text.pooling of a static tower must be auto or mean, got {tower.pooling}")
    if tower.name is not None:
        loaded = load_static(Path(locate_tower(tower.name, "text").place), tower.tokenizer, tower.max_length)
        if not tower.pretrained:
            assert isinstance(loaded.towers, StaticTower)
            loaded.towers.reset()
        return loaded
    assert tower.config is not None
    assert tower.tokenizer is not None
    backend = load_tokenizer(tower.tokenizer)
    tokenizer = StaticTokenizer(backend, longest_text(backend, None, tower.max_length, "a static text tower"))
    towers = StaticTower(max(backend.get_vocab().values()) + 1, _width(tower.config))
    return _assembled(towers, tokenizer, "a fresh table of token vectors")


def _width(config: dict[str, Any]) -> int:
    known = ("model_type", "embedding_dim")
    for name in config:
        if name not in known:
            raise UserError(f'config: {STATIC} has no "{name}".{did_you_mean(name, known)}')
    width = config.get("embedding_dim")
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise UserError(f"config of {STATIC}: embedding_dim must be a whole number above 0, got {width}")
    return width


def load_static(folder: Path, tokenizer: str | None = None, max_length: int | None = None) -> LoadedTowers:
    """Return the static tower of a folder that `mmcl.export` wrote.

    Args:
        folder: the model's.
        tokenizer: another one than the folder's.
        max_length: in tokens; by default what the tower was trained with.

    Raises:
        UserError: a missing or damaged file, or a tokenizer with more ids than there are vectors.
    """
    description = Description.read(folder)
    assert description.single is not None
    path = folder / "model.safetensors"
    (weight,) = read_weights(path, (EMBEDDING_KEY,))
    if weight.dim() != 2:
        raise UserError(f"{path} is damaged: {EMBEDDING_KEY} must be (tokens, width), got {tuple(weight.shape)}")
    backend = load_tokenizer(tokenizer or str(folder))
    check_ids_fit(backend, len(weight), str(folder))
    towers = StaticTower(*weight.shape)
    with torch.no_grad():
        towers.embedding.weight.copy_(weight)
    cutting = StaticTokenizer(backend, max_length or description.single["max_length"])
    cutting.prompts = description.prompts
    loaded = _assembled(towers, cutting, description.origin)
    return replace(loaded, log_scale=description.log_scale, logit_bias=description.logit_bias)


def _assembled(towers: StaticTower, tokenizer: StaticTokenizer, origin: str) -> LoadedTowers:
    if not tokenizer.backend.is_fast:
        raise UserError(f"{origin} needs a fast tokenizer (tokenizer.json), got {type(tokenizer.backend).__name__}")
    freeze_unused(towers, probe(towers, None, tokenizer))
    return LoadedTowers(towers, None, tokenizer, None, None, origin)
