"""What a tokenizer is, and how it cuts texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from mmcl.text.figures import byte_ids, normalised
from mmcl.text.tokenizer import NO_LENGTH

# What is done to a text before it is cut, each told by what becomes of a probe.
_NORMALISATION = (
    ("A", "a", "case is folded"),
    ("ﬁ①Ｑ", "fi1q", "compatibility characters are replaced (NFKC)"),
    ("e\u0301", "é", "letters and marks are composed (NFC)"),
    ("é", "e", "accents are removed"),
    ("x\t\u200by", "x y", "white space of all kinds becomes spaces"),
    ("x   y", "x y", "runs of spaces become one"),
)


@dataclass(frozen=True)
class CutText:
    """A text and its tokens, special tokens included: ``tokens[i]`` has id ``ids[i]``."""

    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class TokenizerFacts:
    """What a tokenizer is.

    Attributes:
        kind: its algorithm (``Unigram``, ``BPE``, ``WordPiece`` ...), or its class where it does not tell.
        vocab_size: ids, added tokens included.
        special_tokens: id by token.
        normalisation: what is done to a text before it is cut, in words; None for a tokenizer that does not tell.
        max_length: longest text in tokens, special tokens included; None where it has none.
        spells_in_bytes: it has a piece for every byte.
    """

    kind: str
    vocab_size: int
    special_tokens: dict[str, int]
    normalisation: tuple[str, ...] | None
    max_length: int | None
    spells_in_bytes: bool


def facts_of(tokenizer: PreTrainedTokenizerBase) -> TokenizerFacts:
    """Return what a tokenizer is."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    length = tokenizer.model_max_length
    special = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return TokenizerFacts(
        kind=type(tokenizer if backend is None else backend.model).__name__,
        vocab_size=len(tokenizer),
        special_tokens=dict(sorted(special, key=lambda item: item[1])),
        normalisation=None if backend is None else _normalisation(tokenizer),
        max_length=int(length) if length is not None and length < NO_LENGTH else None,
        spells_in_bytes=bool(byte_ids(tokenizer)),
    )


def cut(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[CutText]:
    """Return the texts with their tokens; nothing is cut off."""
    if not texts:
        return []
    rows = tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
    return [
        CutText(text, tuple(tokenizer.convert_ids_to_tokens(row)), tuple(row))
        for text, row in zip(texts, rows, strict=True)
    ]


def _normalisation(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    # Case and SentencePiece's mark of a space aside, so that each probe asks one thing.
    found = []
    for probe, becomes, words in _NORMALISATION:
        text = normalised(tokenizer, probe).replace("▁", " ").strip()
        if (text if probe == "A" else text.lower()) == becomes:
            found.append(words)
    return tuple(found)
