from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.text.fast_tokenizer import convert
from mmcl.text.inspection import cut, facts_of
from mmcl.text.sentencepiece import SentencePieceConfig, train_sentencepiece
from mmcl.text.tokenizer import load_tokenizer
from tests.text.hard_lines import sentences
from tests.tiny import SPECIAL, WORDS, save_tokenizer


def _trained(normalization: str, model_type: str = "unigram"):
    config = SentencePieceConfig(vocab_size=500, normalization=normalization, model_type=model_type)
    return convert(train_sentencepiece(sentences(600, seed=1), config), 24)


def test_a_trained_tokenizer_says_what_it_is():
    facts = facts_of(_trained("nmt_nfkc_cf", "bpe"))
    assert (facts.kind, facts.vocab_size, facts.max_length, facts.spells_in_bytes) == ("BPE", 500, 24, True)
    assert facts.special_tokens == {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3}


@pytest.mark.parametrize(
    ("normalization", "said"),
    [
        ("nmt_nfkc_cf", ("case is folded", "compatibility", "letters and marks", "white space", "runs of spaces")),
        ("nmt_nfkc", ("compatibility", "letters and marks", "white space", "runs of spaces")),
        ("nfkc", ("compatibility", "letters and marks", "runs of spaces")),
        ("identity", ()),
    ],
)
def test_the_normaliser_is_told_in_words(normalization, said):
    found = facts_of(_trained(normalization)).normalisation
    assert [words.startswith(start) for words, start in zip(found, said, strict=True)] == [True] * len(said)


def test_any_tokenizer_is_looked_at(tmp_path: Path):
    facts = facts_of(load_tokenizer(save_tokenizer(tmp_path / "words")))
    assert (facts.kind, facts.vocab_size, facts.spells_in_bytes) == ("WordLevel", len(SPECIAL) + len(WORDS), False)
    assert facts.normalisation == ()


def test_a_text_is_cut_into_tokens_with_their_ids_special_ones_included():
    tokenizer = _trained("nmt_nfkc")
    (shown,) = cut(tokenizer, ["the old house"])
    assert (shown.text, shown.tokens[0], shown.tokens[-1]) == ("the old house", "<s>", "</s>")
    assert tokenizer.convert_tokens_to_ids(list(shown.tokens)) == list(shown.ids)
    assert cut(tokenizer, []) == []
