from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mmcl.errors import UserError
from mmcl.packaged import packaged_folder
from mmcl.text.fast_tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, convert
from mmcl.text.sentencepiece import SentencePieceConfig, train_sentencepiece
from tests.text.hard_lines import hard_lines, sentences

SHARED = Path(os.environ.get("MMCL_SHARED_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data")
SENTENCES = SHARED / "text/sentences"
LOOK_ALIKES = ("<s>", "</s>", "<unk>", "<pad>", "<0x41>", "<0xE4>")


def _trained(lines: list[str], **fields) -> tuple[sentencepiece.SentencePieceProcessor, PreTrainedTokenizerFast]:
    config = SentencePieceConfig(**{"vocab_size": 700, "max_length": 512, "character_coverage": 0.9995, **fields})
    model = train_sentencepiece(lines, config)
    return sentencepiece.SentencePieceProcessor(model_proto=model), convert(model, config.max_length)


def _ids(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]


def _is_explained(text: str) -> bool:
    """Whether a mark stands on another mark, on a compatibility character, or on what replaces an unreadable one."""
    return any(
        unicodedata.category(mark).startswith("M")
        and (
            unicodedata.category(letter).startswith("M")
            or unicodedata.normalize("NFKC", letter) != unicodedata.normalize("NFC", letter)
            or letter == "\ufffd"
        )
        for letter, mark in pairwise(text)
    )


def _are_equal(processor, *cuts: list[int]) -> bool:
    """Whether cuts of one text are equally likely: which of them is taken hangs on how sums are rounded."""
    first, second = (sum(map(processor.get_score, ids)) for ids in cuts)
    return processor.decode(cuts[0]) == processor.decode(cuts[1]) and abs(first - second) < 1e-3


def _assert_parity(texts: list[str], processor, tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(texts) >= 3000
    ours, theirs = _ids(tokenizer, texts), [processor.encode(text) for text in texts]
    missed = {text: (a, b) for text, a, b in zip(texts, ours, theirs, strict=True) if a != b}
    assert len(missed) < 0.005 * len(texts)
    assert [text for text, cuts in missed.items() if not (_is_explained(text) or _are_equal(processor, *cuts))] == []
    for text, ids in zip(texts, theirs, strict=True):
        if text not in missed:
            assert tokenizer.decode(ids) == processor.decode(ids), text


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("normalization", ["nmt_nfkc", "nmt_nfkc_cf", "identity"])
def test_hard_lines_are_cut_and_put_together_as_sentencepiece_does(model_type, normalization):
    processor, tokenizer = _trained(sentences(1500, seed=1), model_type=model_type, normalization=normalization)
    _assert_parity(hard_lines(3600, seed=2), processor, tokenizer)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_shared_sentences_are_cut_as_sentencepiece_does(model_type):
    if not SENTENCES.is_dir():
        pytest.skip("needs shared/data/text/sentences")
    english = (SENTENCES / "tatoeba-en.txt").read_text(encoding="utf-8").splitlines()
    with (SENTENCES / "tatoeba-zh-en.csv").open(encoding="utf-8", newline="") as file:
        chinese = [row["zh"] for row in csv.DictReader(file)]
    processor, tokenizer = _trained([*english[::20], *chinese[::2]], model_type=model_type, vocab_size=4000)
    _assert_parity([*english[1::20], *chinese[1::2], *hard_lines(1200, seed=3)], processor, tokenizer)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_without_normalisation_any_text_comes_back_letter_for_letter(model_type):
    _, tokenizer = _trained(sentences(600, seed=1), model_type=model_type, normalization="identity")
    lines = [line for line in hard_lines(3000, seed=4) if "▁" not in line]  # which stands for a space
    ids = tokenizer(lines, verbose=False)["input_ids"]
    assert not any(UNK_ID in row for row in ids)
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == lines


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("saves", [False, True])
def test_what_looks_like_a_special_token_is_text(model_type, saves, tmp_path: Path):
    _, tokenizer = _trained(sentences(600, seed=1), model_type=model_type)
    if saves:
        tokenizer.save_pretrained(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in LOOK_ALIKES:
        (ids,) = _ids(tokenizer, [f"we {text}{text} walked"])
        assert not set(ids) & {PAD_ID, UNK_ID, BOS_ID, EOS_ID}
        assert tokenizer.decode(ids) == f"we {text}{text} walked"
    assert tokenizer("a</s>")["input_ids"].count(EOS_ID) == 1


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_user_symbols_are_one_token_wherever_they_stand(model_type):
    processor, tokenizer = _trained(sentences(600, seed=1), model_type=model_type, user_symbols=("[colour]", "C++"))
    for text in (
        "green[colour]house",
        "small C++ C++house",
        "house [colour]",
        "[colour] house",
        "C++[colour]",
        " C++ x",
    ):
        assert _ids(tokenizer, [text]) == [processor.encode(text)], text
    # Where there is nothing else, SentencePiece alone puts the mark of a word before a symbol.
    assert processor.id_to_piece(processor.encode("[colour]")[0]) == "▁"
    assert _ids(tokenizer, ["[colour]"]) == [processor.encode("[colour]")[1:]]
    symbol = processor.piece_to_id("[colour]")
    assert symbol in _ids(tokenizer, ["green[colour]house"])[0]
    assert symbol not in tokenizer.all_special_ids


def test_a_symbol_keeps_its_case_where_case_is_folded():
    fields = {"normalization": "nmt_nfkc_cf", "user_symbols": ("US", "USB", "①")}
    processor, tokenizer = _trained(sentences(600, seed=1), **fields)
    for text in ("the US and us in a house", "US ① USB 1", "USA usb", "Us"):
        assert _ids(tokenizer, [text]) == [processor.encode(text)], text
    assert tokenizer.tokenize("us house").count("US") == 0


def test_case_is_folded_where_asked_for_letters_in_one_and_in_two_code_points():
    _, tokenizer = _trained(sentences(600, seed=1), normalization="nmt_nfkc_cf")
    assert _ids(tokenizer, ["SMALL House"]) == _ids(tokenizer, ["small house"])
    assert _ids(tokenizer, ["A\u0301"]) == _ids(tokenizer, ["á"])
    assert tokenizer.decode(_ids(tokenizer, ["E\u030c\u200dN\u0302"])[0]) == "ě\u200dn\u0302"


def test_half_width_kana_and_letters_of_hangul_are_composed():
    processor, tokenizer = _trained(sentences(600, seed=1))
    for text in ("ｶﾞｷﾞｸﾞ", "ㅎㅏ", "㍿ ﾊﾟ", "～ and ~", "İstanbul"):
        assert _ids(tokenizer, [text]) == [processor.encode(text)], text


def test_special_tokens_have_fixed_ids_and_stand_around_a_text():
    _, tokenizer = _trained(sentences(600, seed=1), max_length=24)
    special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert special == (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)
    batch = tokenizer(["house", "the young teacher walked"], padding=True)
    assert set(batch) == {"input_ids", "attention_mask"}
    short, long = batch["input_ids"]
    assert short[0] == long[0] == BOS_ID
    assert long[-1] == EOS_ID
    assert short[sum(batch["attention_mask"][0]) - 1] == EOS_ID
    assert short[-1] == PAD_ID
    cut = tokenizer("the young teacher walked " * 9, truncation=True)["input_ids"]
    assert (len(cut), cut[-1]) == (24, EOS_ID)


def test_models_with_other_special_ids_or_without_byte_pieces_are_refused():
    def trained(**options) -> bytes:
        writer = io.BytesIO()
        options = {"vocab_size": 600, "minloglevel": 2, **options}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences(600, seed=1)), model_writer=writer, **options
        )
        return writer.getvalue()

    with pytest.raises(UserError, match="pad_id 0"):
        convert(trained(byte_fallback=True), 24)
    with pytest.raises(UserError, match="byte_fallback"):
        convert(trained(pad_id=0, unk_id=1, bos_id=2, eos_id=3, vocab_size=300), 24)


@pytest.mark.parametrize("name", [None, "glyphs", "zh-en"])
def test_a_folder_loads_without_sentencepiece(name, tmp_path: Path):
    folder = packaged_folder("tokenizers") / name if name else tmp_path
    if name is None:
        _trained(sentences(600, seed=1))[1].save_pretrained(folder)
    text = "small house 漢 🎉 </s>"
    program = (
        "import sys; sys.modules['sentencepiece'] = None\n"
        "from transformers import AutoTokenizer\n"
        f"print(AutoTokenizer.from_pretrained({str(folder)!r})({text!r})['input_ids'])"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
