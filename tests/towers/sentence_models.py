"""Tiny text models that sentence-transformers itself makes and saves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import nn
from transformers import BertConfig, BertModel

from mmcl.text.tokenizer import load_tokenizer
from tests.towers.tiny_configs import POSITIONS, scramble

WIDTH = 16


def save(
    folder: Path,
    tokenizer: str,
    pooling: Any = "mean",
    modules: Sequence[nn.Module] = (),
    max_length: int | None = None,
    **fields: Any,
) -> SentenceTransformer:
    """Save a model of random weights as ``folder/model``, and open it."""
    backend = load_tokenizer(tokenizer)
    backbone = BertModel(BertConfig(vocab_size=len(backend), **POSITIONS))
    scramble(backbone)
    backbone.save_pretrained(folder / "backbone")
    backend.save_pretrained(folder / "backbone")
    first = Transformer(str(folder / "backbone"), max_seq_length=max_length)
    whole = [first, Pooling(WIDTH, pooling), *modules]
    SentenceTransformer(modules=whole, device="cpu", **fields).save(str(folder / "model"))
    return SentenceTransformer(str(folder / "model"), device="cpu")
