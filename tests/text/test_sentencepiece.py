from __future__ import annotations

import json
import unicodedata

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
