"""Train a SentencePiece vocabulary, and make of it a tokenizer that transformers loads without SentencePiece.

A bare ``.model`` file opened by transformers loses the normalisation it was trained with, without a word. So the fast
tokenizer is put together here from what the model says, and compared with SentencePiece itself, text by text.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import sentencepiece
from pydantic import Field, model_validator
from transformers import PreTrainedTokenizerFast

from mmcl.errors import UserError
from mmcl.section import Section
from mmcl.text.sentencepiece_model import PieceType, SentencePieceModel, read_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PAD_ID, UNK_ID, BOS_ID, EOS_ID = range(4)
"""Ids of the special pieces. The end token is not 2: transformers reads CLIP text models with that id in an old way."""

_NUM_SPECIAL_AND_BYTES = 4 + 256
_LONGEST_LINE_BYTES = 1_000_000


class SentencePieceConfig(Section):
    """How a vocabulary is trained and converted."""

    vocab_size: int = Field(default=8000, gt=_NUM_SPECIAL_AND_BYTES)
    """Pieces, the 4 special and the 256 byte pieces included."""
    model_type: Literal["unigram", "bpe"] = "unigram"
    """How texts are cut: by the likeliest pieces, or by merging the most frequent neighbours."""
    character_coverage: float = Field(default=1.0, gt=0, le=1)
    """Share of the corpus's characters with a piece of their own; the others are spelt in bytes. 0.9995 for Chinese."""
    normalization: Literal["nmt_nfkc", "nmt_nfkc_cf", "nfkc", "nfkc_cf", "identity"] = "nmt_nfkc"
    """Character replacements before cutting: NFKC, ``nmt`` with all kinds of white space made plain, ``cf`` with case
    folded; ``identity``: none."""
    user_symbols: tuple[str, ...] = ()
    """Strings that are always one piece."""
    max_length: int = Field(default=77, gt=2)
    """Longest text in tokens, the begin and the end token included."""
    max_mismatch: float = Field(default=0.001, ge=0, le=1)
    """Share of texts that the converted tokenizer may cut otherwise than SentencePiece; above it, it is refused."""

    @model_validator(mode="after")
    def _symbols_are_visible(self) -> SentencePieceConfig:
        if any(not symbol.strip() for symbol in self.user_symbols):
            raise ValueError("a user symbol must hold more than spaces")
        return self


@dataclass(frozen=True)
class TokenizerFigures:
    """A converted tokenizer, measured on texts.

    Attributes:
        num_texts: how many.
        mismatch: share of them whose ids differ from SentencePiece's.
        tokens_per_text: mean number of tokens, special tokens left out.
        fertility: tokens per word, words being what white space separates.
        longest: most tokens of a text, special tokens left out.
    """

    num_texts: int
    mismatch: float
    tokens_per_text: float
    fertility: float
    longest: int


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
    figures = measure(tokenizer, model, texts)
    if figures.mismatch > config.max_mismatch:
        raise UserError(
            f"the converted tokenizer differs from SentencePiece on {figures.mismatch:.2%} of {figures.num_texts:,} "
            f"texts; max_mismatch allows {config.max_mismatch:.2%}"
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
            normalization_rule_name=config.normalization,
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
        raise UserError(
            f"SentencePiece cannot train {config.vocab_size} pieces on {len(lines)} texts: {error}"
        ) from error
    return model.getvalue()


def convert(serialized: bytes, max_length: int) -> PreTrainedTokenizerFast:
    """Return the fast tokenizer that cuts texts as the trained model does, and puts begin and end tokens around them.

    Where it is known to differ: a text that begins with a user symbol loses the empty word before it, and a rare mark
    may be lost that stands on a letter it makes no common character with.

    Args:
        serialized: the bytes of a ``.model`` file, unigram or BPE, with byte pieces and the special ids of this module.
        max_length: its ``model_max_length``, in tokens.

    Raises:
        UserError: the model is no such model.
    """
    model = read_model(serialized)
    _check_special_ids(model)
    tokenizer = Tokenizer(_unigram(model) if model.model_type == "unigram" else _bpe(model))
    tokenizer.normalizer = _normalizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=_prepend_scheme(model))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    pad, unk, bos, eos = (model.pieces[index].text for index in (PAD_ID, UNK_ID, BOS_ID, EOS_ID))
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in (pad, unk, bos, eos)])
    symbols = model.of_type(PieceType.USER_DEFINED)
    tokenizer.add_tokens([AddedToken(piece.text, normalized=True, special=False) for piece in symbols])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} $B {eos}",
        special_tokens=[(bos, BOS_ID), (eos, EOS_ID)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unk,
        bos_token=bos,
        eos_token=eos,
        model_max_length=max_length,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def measure(tokenizer: PreTrainedTokenizerFast, serialized: bytes, texts: Sequence[str]) -> TokenizerFigures:
    """Compare a tokenizer with the SentencePiece model it was made of, on one or more texts."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=serialized)
    ours = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    theirs = [processor.encode(text) for text in texts]
    num_tokens = sum(map(len, ours))
    return TokenizerFigures(
        num_texts=len(texts),
        mismatch=sum(a != b for a, b in zip(ours, theirs, strict=True)) / len(texts),
        tokens_per_text=num_tokens / len(texts),
        fertility=num_tokens / max(1, sum(len(text.split()) for text in texts)),
        longest=max(map(len, ours)),
    )


def _check_special_ids(model: SentencePieceModel) -> None:
    types = [piece.type for piece in model.pieces[: EOS_ID + 1]]
    if types != [PieceType.CONTROL, PieceType.UNKNOWN, PieceType.CONTROL, PieceType.CONTROL]:
        raise UserError("the SentencePiece model must have pad_id 0, unk_id 1, bos_id 2 and eos_id 3")
    if len(model.of_type(PieceType.BYTE)) != 256:
        raise UserError("the SentencePiece model must be trained with byte_fallback; it has no piece for every byte")


def _unigram(model: SentencePieceModel) -> models.Unigram:
    vocabulary = [(piece.text, piece.score) for piece in model.pieces]
    return models.Unigram(vocabulary, unk_id=UNK_ID, byte_fallback=True)


def _bpe(model: SentencePieceModel) -> models.BPE:
    vocabulary = {piece.text: index for index, piece in enumerate(model.pieces)}
    mergeable = {piece.text: piece.score for piece in model.of_type(PieceType.NORMAL)}
    # SentencePiece merges any two neighbours that make a piece, those of the best score first; a merge list has to
    # name every such pair, in that order.
    merges = [
        (text[:cut], text[cut:])
        for text, _ in sorted(mergeable.items(), key=lambda item: -item[1])
        for cut in range(1, len(text))
        if text[:cut] in mergeable and text[cut:] in mergeable
    ]
    return models.BPE(vocabulary, merges, unk_token=model.pieces[UNK_ID].text, byte_fallback=True, fuse_unk=True)


def _prepend_scheme(model: SentencePieceModel) -> Literal["always", "first", "never"]:
    if not model.adds_dummy_prefix:
        return "never"
    # "first" gives no space to a text whose first character was normalised away; "always" gives one to what follows a
    # user symbol, where there are any.
    return "first" if model.of_type(PieceType.USER_DEFINED) else "always"


def _normalizer(model: SentencePieceModel) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if model.charsmap:
        # Precompiled drops the marks of a letter written in several code points when it has a rule for the bare letter
        # ("A" to "a"); composed first, they are one code point with a rule of its own.
        steps += [normalizers.NFC(), normalizers.Precompiled(model.charsmap)]
    if model.removes_extra_whitespaces:
        # A space at the beginning may stay: it becomes the mark that a first word begins with anyhow.
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(left=False, right=True)]
    return normalizers.Sequence(steps)
