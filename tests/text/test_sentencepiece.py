from __future__ import annotations

import json
import unicodedata

import pytest
import yaml
from pydantic import ValidationError
from transformers import AutoTokenizer

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


def _config(**fields) -> SentencePieceConfig:
    return SentencePieceConfig(**{"vocab_size": 330, "max_length": 24, **fields})


def test_training_twice_gives_the_same_bytes():
    config = _config()
    assert train_sentencepiece(CORPUS, config) == train_sentencepiece(iter(CORPUS), config)


def test_a_conversion_that_differs_too_often_is_refused(monkeypatch):
    faulty = convert(train_sentencepiece(CORPUS, _config(vocab_size=310)), 24)
    monkeypatch.setattr(module, "convert", lambda *_: faulty)
    with pytest.raises(UserError, match=r"differs from SentencePiece on .*% of 300 texts; max_mismatch allows 0\.100%"):
        build_tokenizer(CORPUS, _config())


def test_impossible_training_is_one_clear_error():
    with pytest.raises(
        UserError, match=r"cannot train 9,999 pieces on 300 texts; set vocab_size to [\d,]+ or less, or"
    ):
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
    on_unseen = measure(packaged, unseen, train_sentencepiece(names, config))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for found in (figures, on_unseen):
        measured = (f"{found.num_texts:,}", f"{found.tokens_per_text:.2f}", f"{found.fertility:.2f}")
        assert " | ".join([*measured, str(found.longest), f"{found.mismatch:.1%}"]) in readme


def test_the_tokenizers_folder_is_no_package_that_would_shadow_the_library():
    assert not list(packaged_folder("tokenizers").rglob("*.py"))
