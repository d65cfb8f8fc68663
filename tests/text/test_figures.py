from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from mmcl.errors import UserError
from mmcl.text.fast_tokenizer import convert
from mmcl.text.figures import byte_ids, measure, normalised
from mmcl.text.sentencepiece import SentencePieceConfig, train_sentencepiece
from mmcl.text.tokenizer import load_tokenizer
from tests.text.hard_lines import sentences
from tests.tiny import save_tokenizer

LINES = sentences(600, seed=1)


@pytest.fixture(scope="module")
def model() -> bytes:
    return train_sentencepiece(LINES, SentencePieceConfig(vocab_size=500))


def test_tokens_are_counted_per_word_where_spaces_stand_and_else_per_character(model):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    english, chinese = LINES[::2], LINES[1::2]
    figures = measure(convert(model, 24), iter(LINES))
    lengths = [len(processor.encode(line)) for line in LINES]
    assert (figures.num_texts, figures.longest) == (len(LINES), max(lengths))
    assert figures.tokens_per_text == pytest.approx(sum(lengths) / len(LINES))
    assert figures.fertility == pytest.approx(sum(lengths[::2]) / sum(len(line.split()) for line in english))
    assert figures.tokens_per_character == pytest.approx(sum(lengths[1::2]) / sum(map(len, chinese)))
    assert measure(convert(model, 24), english).tokens_per_character is None
    assert measure(convert(model, 24), chinese).fertility is None
    assert measure(convert(model, 24), [*chinese, "OK"]).fertility is None  # two letters are not worth a figure


def test_only_a_model_to_compare_with_gives_a_mismatch(model):
    other = convert(train_sentencepiece(LINES, SentencePieceConfig(vocab_size=420)), 24)
    assert measure(convert(model, 24), LINES).mismatch is None
    assert measure(convert(model, 24), LINES, model).mismatch == 0
    assert measure(other, LINES, model).mismatch > 0.5


def test_bytes_and_texts_that_are_too_long_are_counted_with_special_tokens(model):
    tokenizer = convert(model, 24)
    figures = measure(tokenizer, ["\U0001f389"], max_length=6)  # a mark, four bytes, begin and end
    assert (figures.byte_share, figures.too_long_share) == (pytest.approx(4 / 5), 1)
    assert measure(tokenizer, ["\U0001f389"], max_length=7).too_long_share == 0
    assert measure(tokenizer, LINES).too_long_share is None
    assert len(byte_ids(tokenizer)) == 256


def test_round_trips_are_as_normalised_and_letter_for_letter(model):
    figures = measure(convert(model, 24), ["the  old ﬁsh", "the old house"])
    assert (figures.round_trip, figures.exact_round_trip, figures.lost) == (1, 0.5, ())


def test_what_a_tokenizer_of_words_does_not_know_is_unknown_and_lost(tmp_path: Path):
    tokenizer = load_tokenizer(save_tokenizer(tmp_path / "words"))
    figures = measure(tokenizer, ["black knight", "black elephant", *["elephant"] * 9])
    assert figures.byte_share is None
    assert figures.unknown_share == pytest.approx(10 / 13)
    assert figures.round_trip == pytest.approx(1 / 11)
    assert len(figures.lost) == 5
    assert figures.lost[0] == (
        "black elephant",
        tokenizer.decode(tokenizer("black elephant", add_special_tokens=False)["input_ids"]),
    )


def test_normalised_is_what_the_tokenizer_cuts(model):
    assert normalised(convert(model, 24), "ＡＢ  c ") == "AB c"


def test_nothing_to_measure_is_an_error(model):
    with pytest.raises(UserError, match="no text to measure"):
        measure(convert(model, 24), [])
