"""Train a SentencePiece vocabulary, convert it, and compare the outcome with SentencePiece itself, text by text."""

from __future__ import annotations

import io
import re
import string
from collections.abc import Iterable, Sequence
from typing import Literal

import sentencepiece
from pydantic import Field, model_validator
from transformers import PreTrainedTokenizerFast

from mmcl.errors import UserError
from mmcl.section import Section
from mmcl.text.fast_tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, convert
from mmcl.text.figures import TokenizerFigures, measure

NUM_SPECIAL_AND_BYTES = 4 + 256
_LONGEST_LINE_BYTES = 1_000_000
_TAKEN = re.compile("<(pad|unk|s|/s|0x[0-9A-F]{2})>")


class SentencePieceConfig(Section):
    """How a vocabulary is trained and converted."""

    vocab_size: int = Field(default=8000, gt=NUM_SPECIAL_AND_BYTES)
    """Pieces, the 4 special and the 256 byte pieces included."""
    model_type: Literal["unigram", "bpe"] = "unigram"
    """How texts are cut: by the likeliest pieces, or by merging the most frequent neighbours."""
    character_coverage: float = Field(default=1.0, gt=0, le=1)
    """Share of the corpus's characters with a piece of their own; the others are spelt in bytes,
    but for digits and the punctuation of ASCII. 0.9995 for Chinese."""
    normalization: Literal["nmt_nfkc", "nmt_nfkc_cf", "nfkc", "nfkc_cf", "identity"] = "nmt_nfkc"
    """Character replacements before cutting: NFKC, ``nmt`` with all kinds of white space made plain, ``cf`` with case
    folded. ``identity``: none, and every space is kept, so that any text comes back letter for letter."""
    user_symbols: tuple[str, ...] = ()
    """Strings that are always one piece."""
    max_length: int = Field(default=77, gt=2)
    """Longest text in tokens, the begin and the end token included."""
    max_mismatch: float = Field(default=0.001, ge=0, le=1)
    """Share of texts that the converted tokenizer may cut otherwise than SentencePiece; above it, it is refused."""

    @model_validator(mode="after")
    def _symbols_are_symbols(self) -> SentencePieceConfig:
        if any(not symbol.strip() for symbol in self.user_symbols):
            raise ValueError("a user symbol must hold more than spaces")
        if taken := [symbol for symbol in self.user_symbols if _TAKEN.fullmatch(symbol)]:
            raise ValueError(f"{taken[0]} is a special token or a byte, and cannot be a user symbol")
        return self


def build_tokenizer(
    texts: Sequence[str], config: SentencePieceConfig
) -> tuple[PreTrainedTokenizerFast, TokenizerFigures]:
    """Train on the texts, convert, and measure the conversion on the same texts.

    Returns:
        The tokenizer, whose ``save_pretrained`` writes what ``AutoTokenizer`` loads, and its figures.

    Raises:
        UserError: training is impossible, or more than ``config.max_mismatch`` of the texts are cut otherwise.
    """
    model = train_sentencepiece(texts, config)
    tokenizer = convert(model, config.max_length)
    figures = measure(tokenizer, texts, model)
    assert figures.mismatch is not None
    if figures.mismatch > config.max_mismatch:
        raise UserError(
            f"the converted tokenizer differs from SentencePiece on {figures.mismatch:.3%} of {figures.num_texts:,} "
            f"texts; max_mismatch allows {config.max_mismatch:.3%}"
        )
    return tokenizer, figures


def train_sentencepiece(texts: Iterable[str], config: SentencePieceConfig) -> bytes:
    """Return the bytes of a ``.model`` file, the same for the same texts in the same order.

    White space within a text counts as one space. Texts beyond a megabyte are left out by SentencePiece.

    Raises:
        UserError: there is no text, or too little for so large a vocabulary.
    """
    lines = [" ".join(text.split()) for text in texts]
    if not any(lines):
        raise UserError("a tokenizer needs texts to be trained on; got none that is not empty")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=config.vocab_size,
            model_type=config.model_type,
            character_coverage=config.character_coverage,
            required_chars=string.digits + string.punctuation if config.character_coverage < 1 else "",
            normalization_rule_name=config.normalization,
            remove_extra_whitespaces=config.normalization != "identity",
            user_defined_symbols=list(config.user_symbols),
            byte_fallback=True,
            pad_id=PAD_ID,
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            max_sentence_length=_LONGEST_LINE_BYTES,
            num_threads=1,  # sums in another order give other scores
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(_said_of(str(error), config.vocab_size, len(lines))) from error
    return model.getvalue()


def _said_of(error: str, vocab_size: int, num_texts: int) -> str:
    """Return SentencePiece's error in our words, where it is about the size of the vocabulary, as most are."""
    said = f"SentencePiece cannot train {vocab_size:,} pieces on {num_texts:,} text{'' if num_texts == 1 else 's'}"
    if most := re.search(r"Vocabulary size too high .* value <= (\d+)", error):
        return f"{said}; set vocab_size to {int(most[1]):,} or less, or give more texts"
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", error):
        return f"{said}, whose characters alone take {int(least[1]):,}; raise vocab_size, or lower character_coverage"
    return f"{said}: {error}"
