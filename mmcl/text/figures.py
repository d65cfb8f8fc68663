"""How well a tokenizer fits texts: tokens per word and character, bytes, round trips, agreement with SentencePiece."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import sentencepiece
from transformers import PreTrainedTokenizerBase

from mmcl.errors import UserError

_TEXTS_AT_A_TIME = 2000
_NUM_EXAMPLES = 5
_SMALLEST_SHARE = 0.01
# Thai, Lao, Tibetan, Burmese, Khmer, kana, and Chinese characters.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class TokenizerFigures:
    """A tokenizer, measured on texts; special tokens are left out but where said.

    Attributes:
        num_texts: how many.
        tokens_per_text: mean number of tokens.
        longest: most tokens of a text.
        fertility: tokens per word, words being what white space separates; None where under a hundredth of the tokens
            are of texts of words.
        tokens_per_character: of texts whose script puts no spaces between words (Chinese, Japanese, Thai ...), which
            ``fertility`` leaves out; spaces do not count. None where under a hundredth of the tokens are of such texts.
        byte_share: share of tokens that spell a single byte; None for a tokenizer without a piece for every byte.
        unknown_share: share of tokens that stand for what the vocabulary lacks.
        round_trip: share of texts that come back from their tokens as the tokenizer normalises them, white space aside.
        exact_round_trip: share that comes back letter for letter.
        lost: up to five texts that do not come back as normalised, each with what comes back.
        too_long_share: share of texts of more than ``max_length`` tokens, special tokens included; None without one.
        mismatch: share of texts whose ids differ from SentencePiece's; None where there is nothing to compare with.
    """

    num_texts: int
    tokens_per_text: float
    longest: int
    fertility: float | None
    tokens_per_character: float | None
    byte_share: float | None
    unknown_share: float
    round_trip: float
    exact_round_trip: float
    lost: tuple[tuple[str, str], ...]
    too_long_share: float | None
    mismatch: float | None


@dataclass
class _Counts:
    texts: int = 0
    tokens: int = 0
    longest: int = 0
    words: int = 0
    tokens_of_words: int = 0
    characters: int = 0
    tokens_of_characters: int = 0
    bytes: int = 0
    unknown: int = 0
    returned: int = 0
    returned_exactly: int = 0
    too_long: int = 0
    mismatched: int = 0

    def per(self, tokens: int, units: int) -> float | None:
        """Tokens of one kind of text for each word or character of it; None where there is next to nothing of it."""
        return tokens / units if units and tokens >= _SMALLEST_SHARE * self.tokens else None


def measure(
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    model: bytes | None = None,
    max_length: int | None = None,
) -> TokenizerFigures:
    """Measure a tokenizer on texts, which are read once, some at a time.

    Args:
        tokenizer: any of transformers'.
        texts: one or more.
        model: bytes of the SentencePiece model to compare it with.
        max_length: in tokens, special tokens included.

    Raises:
        UserError: there is no text.
    """
    counts, lost = _Counts(), list[tuple[str, str]]()
    processor = None if model is None else sentencepiece.SentencePieceProcessor(model_proto=model)
    bytes_of = byte_ids(tokenizer)
    num_special = tokenizer.num_special_tokens_to_add()
    for some in _batches(texts):
        rows = tokenizer(some, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        for text, row in zip(some, rows, strict=True):
            _count_tokens(counts, text, len(row))
            counts.bytes += sum(token in bytes_of for token in row)
            counts.unknown += row.count(tokenizer.unk_token_id)
            counts.too_long += max_length is not None and len(row) + num_special > max_length
        if processor is not None:
            counts.mismatched += sum(a != b for a, b in zip(rows, processor.encode(some), strict=True))
        lost += _count_round_trips(counts, tokenizer, some, rows)[: _NUM_EXAMPLES - len(lost)]
    if not counts.texts:
        raise UserError("there is no text to measure a tokenizer on")
    return TokenizerFigures(
        num_texts=counts.texts,
        tokens_per_text=counts.tokens / counts.texts,
        longest=counts.longest,
        fertility=counts.per(counts.tokens_of_words, counts.words),
        tokens_per_character=counts.per(counts.tokens_of_characters, counts.characters),
        byte_share=counts.bytes / max(1, counts.tokens) if bytes_of else None,
        unknown_share=counts.unknown / max(1, counts.tokens),
        round_trip=counts.returned / counts.texts,
        exact_round_trip=counts.returned_exactly / counts.texts,
        lost=tuple(lost),
        too_long_share=None if max_length is None else counts.too_long / counts.texts,
        mismatch=None if model is None else counts.mismatched / counts.texts,
    )


def byte_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids of the 256 byte pieces (``<0x00>`` ...) of a tokenizer; none where it has not all of them."""
    vocabulary = tokenizer.get_vocab()
    found = [vocabulary.get(f"<0x{value:02X}>") for value in range(256)]
    return frozenset() if None in found else frozenset(found)


def normalised(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return a text as a fast tokenizer normalises it; as it is from one that does not tell."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return text if normalizer is None else str(normalizer.normalize_str(text))


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while some := list(islice(remaining, _TEXTS_AT_A_TIME)):
        yield some


def _count_tokens(counts: _Counts, text: str, num_tokens: int) -> None:
    counts.texts += 1
    counts.tokens += num_tokens
    counts.longest = max(counts.longest, num_tokens)
    words = text.split()
    if 2 * len(_WITHOUT_SPACES.findall(text)) > sum(map(str.isalpha, text)):
        counts.characters += sum(map(len, words))
        counts.tokens_of_characters += num_tokens
    else:
        counts.words += len(words)
        counts.tokens_of_words += num_tokens


def _count_round_trips(
    counts: _Counts, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], rows: Sequence[list[int]]
) -> list[tuple[str, str]]:
    """Count the texts that come back; return those that do not, with what comes back."""
    lost = []
    for text, back in zip(texts, tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False), strict=True):
        counts.returned_exactly += back == text
        if back == text or _plain(back) == _plain(normalised(tokenizer, text)):
            counts.returned += 1
        else:
            lost.append((text, back))
    return lost


def _plain(text: str) -> str:
    """Return a text with single spaces for all white space, and for SentencePiece's mark of it."""
    return " ".join(text.replace("▁", " ").split())
