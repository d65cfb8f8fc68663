"""The tokenizers of the families, each of the class that its checkpoints have, with a small vocabulary of its own."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GemmaTokenizer,
    MPNetTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    Siglip2Tokenizer,
    SiglipTokenizer,
    Tipsv2Tokenizer,
    XLMRobertaTokenizer,
)

from tokenizers import Tokenizer, models, pre_tokenizers, processors

LENGTH = 16
"""Longest text in tokens, of the models as of the tokenizers."""

_LINES = ["a photo of a cat", "the quick brown fox jumps over the lazy dog", "two black knights, a white arrow: 12.5%"]
_LETTERS = sorted({letter for line in _LINES for letter in line} | set("abcdefghijklmnopqrstuvwxyz!?.,"))
_MERGES = [("t", "h"), ("c", "a"), ("o", "f</w>"), ("ca", "t</w>")]


def clip(**fields: Any) -> Any:
    """CLIP's byte-level pairs; its end token has the largest id, as OpenAI's has."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in _MERGES)]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=_MERGES, model_max_length=LENGTH, **fields)


def _word_pieces(*special: str) -> dict[str, int]:
    pieces = [*special, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), "photo", "cat", "中", "文"]
    return {piece: index for index, piece in enumerate(pieces)}


def bert(**fields: Any) -> Any:
    """WordPiece, of BERT, DistilBERT, ALIGN, ChineseCLIP, BLIP and FLAVA."""
    vocabulary = _word_pieces("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    return BertTokenizer(vocab=vocabulary, **{"model_max_length": LENGTH, **fields})


def mpnet() -> Any:
    """MPNet's WordPiece, whose special tokens are RoBERTa's."""
    vocabulary = _word_pieces("<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>")
    return MPNetTokenizer(vocab=vocabulary, model_max_length=LENGTH)


def roberta() -> Any:
    """RoBERTa's byte-level pairs."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "th"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return RobertaTokenizer(vocab=vocabulary, merges=[("t", "h")], model_max_length=LENGTH)


def xlm_roberta() -> Any:
    """Unigram pieces, of XLM-RoBERTa, AltCLIP and MetaCLIP 2."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [("▁", -2.0), ("▁cat", -3.0), *((letter, -4.0) for letter in _LETTERS if letter != " "), ("中", -5.0)]
    return XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)], model_max_length=LENGTH)


def modern_bert() -> Any:
    """ModernBERT's: byte-level pairs with BERT's special tokens."""
    names = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    pieces = [*names, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    special = dict(zip(("unk_token", "cls_token", "sep_token", "pad_token", "mask_token"), names, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=LENGTH, **special)


@cache
def _sentencepiece() -> bytes:
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_LINES * 20),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


def siglip(folder: Path) -> Any:
    """SigLIP's SentencePiece, which takes punctuation away and pads with its end token."""
    path = folder / "spiece.model"
    path.write_bytes(_sentencepiece())
    return SiglipTokenizer(vocab_file=str(path), model_max_length=LENGTH, model_input_names=["input_ids"])


def _gemma_pieces() -> dict[str, int]:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *(f"<0x{byte:02X}>" for byte in range(256)), *_LETTERS]
    return {piece: index for index, piece in enumerate(pieces)}


def siglip2() -> Any:
    """SigLIP 2's: Gemma's, in lower case, with an end token; its files state no longest text."""
    return Siglip2Tokenizer(vocab=_gemma_pieces(), merges=[], padding_side="right", model_input_names=["input_ids"])


def tipsv2() -> Any:
    """TIPSv2's: pieces of bytes in lower case, without any special token at either end."""
    pieces = ["<pad>", "<unk>", *list(_gemma_pieces())[5:]]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return Tipsv2Tokenizer(vocab=vocabulary, merges=[], model_max_length=LENGTH)


def gemma() -> Any:
    """The tokenizer class that SigLIP 2's first files name."""
    return GemmaTokenizer(vocab=_gemma_pieces(), merges=[], padding_side="right", model_input_names=["input_ids"])
