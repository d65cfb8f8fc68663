"""Make of a trained SentencePiece model a tokenizer that transformers loads without SentencePiece.

A bare ``.model`` file opened by transformers loses the normalisation it was trained with, without a word. So the fast
tokenizer is put together here from what the model says.
"""

from __future__ import annotations

import re
from typing import Literal

from transformers import PreTrainedTokenizerFast

from mmcl.errors import UserError
from mmcl.text.sentencepiece_model import PieceType, SentencePieceModel, read_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PAD_ID, UNK_ID, BOS_ID, EOS_ID = range(4)
"""Ids of the special pieces. The end token is not 2: transformers reads CLIP text models with that id in an old way."""

# Characters that SentencePiece's tables leave alone against the rule, each with a stand-in that Unicode keeps for the
# inside of programs: NFKC would make "~" of the first, and lower case two code points of the second.
_EXCEPTIONS = {"～": "\ufdd0", "İ": "\ufdd1"}
_PRIVATE_USE = 0x100000  # of the stand-ins of symbols; the beginning of Unicode's last private area
_NEVER_IN_TEXT = (PieceType.CONTROL, PieceType.UNKNOWN, PieceType.BYTE)


def convert(serialized: bytes, max_length: int) -> PreTrainedTokenizerFast:
    """Return the fast tokenizer that cuts texts as the trained model does, and puts begin and end tokens around them.

    What looks like a special token or a byte piece in a text (``</s>``, ``<0x41>``) is text, as in SentencePiece:
    nobody's captions end a text early. Where it is known to differ: a text that is nothing but a user symbol has no
    empty word before it; marks on a mark or on a compatibility character are put into canonical order and composed,
    which SentencePiece does not do; and of two cuts that are equally likely the other may be taken.

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
    tokenizer.pre_tokenizer = _pre_tokenizer(model)
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
        split_special_tokens=True,
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


def _pre_tokenizer(model: SentencePieceModel) -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.Metaspace(prepend_scheme=_prepend_scheme(model))
    if model.model_type != "unigram":
        return words
    # Unigram would look up every piece in a text, those of bytes and special tokens too; none survives in two parts.
    names = [piece.text for piece in model.pieces if piece.type in _NEVER_IN_TEXT]
    inside = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names)
    return pre_tokenizers.Sequence([words, pre_tokenizers.Split(Regex(inside), "merged_with_previous")])


def _prepend_scheme(model: SentencePieceModel) -> Literal["always", "first", "never"]:
    if not model.adds_dummy_prefix:
        return "never"
    # "first" gives no space to a text whose first character was normalised away; "always" gives one to what follows a
    # user symbol, where there are any.
    return "first" if model.of_type(PieceType.USER_DEFINED) else "always"


def _normalizer(model: SentencePieceModel) -> normalizers.Normalizer:
    symbols = sorted((piece.text for piece in model.of_type(PieceType.USER_DEFINED)), key=len, reverse=True)
    steps = _character_rules(model.charsmap, symbols) if model.charsmap else []
    if model.removes_extra_whitespaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"[ ▁]+\z"), "")]
    if model.adds_dummy_prefix:
        # Metaspace puts the mark of a first word before a text, but not where one seems to be there: a space, which
        # may stay as the mark if it is not to be kept, or the very character.
        begin = r"\A ?(?=▁)" if model.removes_extra_whitespaces else r"\A(?=[ ▁])"
        steps.append(normalizers.Replace(Regex(begin), " "))
    if model.adds_dummy_prefix and symbols:
        # Nor does it put one before a symbol. The symbols themselves come through here too, and must stay as they are.
        either = "|".join(map(re.escape, symbols))
        steps.append(normalizers.Replace(Regex(rf"\A(?={either})(?!(?:{either})\z)"), " "))
    return normalizers.Sequence(steps)


def _character_rules(charsmap: bytes, symbols: list[str]) -> list[normalizers.Normalizer]:
    """Return what replaces characters as SentencePiece's compiled table does, but none of a symbol, longest first."""
    table = normalizers.Precompiled(charsmap)
    # Precompiled drops the marks behind a letter that it has a rule for. What is done before leaves it hardly any.
    rules: list[normalizers.Normalizer] = [
        normalizers.NFKC() if table.normalize_str("ﬁ") == "fi" else normalizers.NFC()
    ]
    if table.normalize_str("A") == "a":
        rules.append(normalizers.Lowercase())
    stand_ins = _EXCEPTIONS | {symbol: chr(_PRIVATE_USE + number) for number, symbol in enumerate(symbols)}
    kept = {
        text: stand_in
        for text, stand_in in stand_ins.items()
        if (table.normalize_str(text) == text) == (text in _EXCEPTIONS)
    }
    before = [normalizers.Replace(text, stand_in) for text, stand_in in kept.items()]
    after = [normalizers.Replace(stand_in, text) for text, stand_in in kept.items()]
    return [*before, *rules, table, *after]
