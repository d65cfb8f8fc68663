from __future__ import annotations

import io
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import sentencepiece
import yaml
from pydantic import ValidationError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mmcl.data.glyphs import load_glyphs
from mmcl.errors import UserError
from mmcl.packaged import packaged_folder
from mmcl.text import sentencepiece as module
from mmcl.text.sentencepiece import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNK_ID,
    SentencePieceConfig,
    build_tokenizer,
    convert,
    measure,
    train_sentencepiece,
)

CORPUS = [unicodedata.name(chr(codepoint)).capitalize() for codepoint in range(0xA1, 0x1CD)]
HARD_TEXTS = [
    "Small   house",
    "  leading and trailing  ",
    "",
    "   ",
    "cafe\u0301 A\u0301 ﬁne ①",  # letters in two code points, a ligature, a digit in a circle
    "zero\u200bwidth and no\u00a0break",
    "漢字 and 🎉 and ñ",
    "tab\tand\nline",
    "▁ itself",
    "1,234.5 aaaaaaaa bbbb",
]


def _config(**fields) -> SentencePieceConfig:
    return SentencePieceConfig(**{"vocab_size": 330, "max_length": 24, **fields})


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("normalization", ["nmt_nfkc", "nmt_nfkc_cf", "nfkc", "identity"])
def test_the_conversion_cuts_texts_as_sentencepiece_does(model_type, normalization):
    config = _config(model_type=model_type, normalization=normalization)
    model = train_sentencepiece(CORPUS, config)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokenizer = convert(model, config.max_length)
    for text in [*CORPUS[::7], *HARD_TEXTS]:
        if "nmt" not in normalization and any(mark in text for mark in "\t\u00a0▁"):
            continue  # only the "nmt" rules make plain spaces of these
        assert _ids(tokenizer, text) == processor.encode(text), text


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_user_symbols_are_one_token_wherever_they_stand(model_type):
    config = _config(model_type=model_type, user_symbols=("[colour]", "C++"))
    model = train_sentencepiece(CORPUS, config)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokenizer = convert(model, config.max_length)
    for text in ("green[colour]house", "small C++ C++house", "house [colour]"):
        assert _ids(tokenizer, text) == processor.encode(text), text
    # At the beginning of a text, SentencePiece alone puts the mark of a word before a symbol.
    mark, *rest = processor.encode("[colour] house")
    assert processor.id_to_piece(mark) == "▁"
    assert _ids(tokenizer, "[colour] house") == rest
    symbol = processor.piece_to_id("[colour]")
    assert symbol in _ids(tokenizer, "green[colour]house")
    assert symbol not in tokenizer.all_special_ids


def test_special_tokens_have_fixed_ids_and_stand_around_a_text():
    tokenizer, _ = build_tokenizer(CORPUS, _config())
    special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert special == (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)
    batch = tokenizer(["house", "capital letter with stroke"], padding=True)
    assert set(batch) == {"input_ids", "attention_mask"}
    short, long = batch["input_ids"]
    assert short[0] == long[0] == BOS_ID
    assert long[-1] == EOS_ID
    assert short[sum(batch["attention_mask"][0]) - 1] == EOS_ID
    assert short[-1] == PAD_ID
    cut = tokenizer("capital letter with stroke " * 9, truncation=True)["input_ids"]
    assert (len(cut), cut[-1]) == (24, EOS_ID)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_any_text_survives_there_and_back(model_type):
    tokenizer, _ = build_tokenizer(CORPUS, _config(model_type=model_type, normalization="identity"))
    for text in ("small house", "漢字 🎉", "Ünïcödé ß", "\N{ARABIC LETTER BEH}\u200f"):
        ids = tokenizer(text)["input_ids"]
        assert UNK_ID not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_case_is_folded_where_asked_for_letters_in_one_and_in_two_code_points():
    tokenizer, _ = build_tokenizer(CORPUS, _config(normalization="nmt_nfkc_cf"))
    assert _ids(tokenizer, "SMALL House") == _ids(tokenizer, "small house")
    assert _ids(tokenizer, "A\u0301") == _ids(tokenizer, "á")


def test_training_twice_gives_the_same_bytes():
    config = _config()
    assert train_sentencepiece(CORPUS, config) == train_sentencepiece(iter(CORPUS), config)


def test_measure_counts_texts_that_are_cut_otherwise_and_tokens_per_word():
    model = train_sentencepiece(CORPUS, _config())
    other = convert(train_sentencepiece(CORPUS, _config(vocab_size=310)), 24)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    figures = measure(convert(model, 24), model, CORPUS)
    num_tokens = sum(len(processor.encode(text)) for text in CORPUS)
    assert (figures.num_texts, figures.mismatch) == (len(CORPUS), 0)
    assert figures.tokens_per_text == pytest.approx(num_tokens / len(CORPUS))
    assert figures.fertility == pytest.approx(num_tokens / sum(len(text.split()) for text in CORPUS))
    assert figures.longest == max(len(processor.encode(text)) for text in CORPUS)
    assert measure(other, model, CORPUS).mismatch > 0.9


def test_a_conversion_that_differs_too_often_is_refused(monkeypatch):
    faulty = convert(train_sentencepiece(CORPUS, _config(vocab_size=310)), 24)
    monkeypatch.setattr(module, "convert", lambda *_: faulty)
    with pytest.raises(UserError, match=r"differs from SentencePiece on .*% of 300 texts; max_mismatch allows 0\.10%"):
        build_tokenizer(CORPUS, _config())


def test_impossible_training_is_one_clear_error():
    with pytest.raises(UserError, match=r"cannot train 9999 pieces on 300 texts: .*too high"):
        train_sentencepiece(CORPUS, _config(vocab_size=9999))
    with pytest.raises(UserError, match="needs texts to be trained on"):
        train_sentencepiece(["", "  "], _config())
    with pytest.raises(ValidationError, match="user symbol"):
        _config(user_symbols=(" ",))


def test_models_with_other_special_ids_or_without_byte_pieces_are_refused():
    def trained(**options) -> bytes:
        writer = io.BytesIO()
        options = {"vocab_size": 330, "minloglevel": 2, **options}
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=writer, **options)
        return writer.getvalue()

    with pytest.raises(UserError, match="pad_id 0"):
        convert(trained(byte_fallback=True), 24)
    with pytest.raises(UserError, match="byte_fallback"):
        convert(trained(pad_id=0, unk_id=1, bos_id=2, eos_id=3, vocab_size=100), 24)


def test_the_saved_folder_loads_without_sentencepiece(tmp_path: Path):
    tokenizer, _ = build_tokenizer(CORPUS, _config())
    tokenizer.save_pretrained(tmp_path)
    program = (
        "import sys; sys.modules['sentencepiece'] = None\n"
        "from transformers import AutoTokenizer\n"
        f"print(AutoTokenizer.from_pretrained({str(tmp_path)!r})('small house 漢')['input_ids'])"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == tokenizer("small house 漢")["input_ids"]


def test_the_packaged_glyphs_tokenizer_is_what_its_settings_train():
    folder = packaged_folder("tokenizers") / "glyphs"
    config = SentencePieceConfig(**yaml.safe_load((folder / "training.yaml").read_text(encoding="utf-8")))
    names = sorted(set(load_glyphs("train")["text"]))
    trained, figures = build_tokenizer(names, config)
    packaged = AutoTokenizer.from_pretrained(folder)
    assert json.loads(trained.backend_tokenizer.to_str()) == json.loads(packaged.backend_tokenizer.to_str())
    assert packaged.model_max_length == config.max_length
    unseen = sorted(set(load_glyphs("unseen_characters")["text"]))
    on_unseen = measure(packaged, train_sentencepiece(names, config), unseen)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for found in (figures, on_unseen):
        measured = (f"{found.num_texts:,}", f"{found.tokens_per_text:.2f}", f"{found.fertility:.2f}")
        assert " | ".join([*measured, str(found.longest), f"{found.mismatch:.1%}"]) in readme


def test_the_tokenizers_folder_is_no_package_that_would_shadow_the_library():
    assert not list(packaged_folder("tokenizers").rglob("*.py"))
