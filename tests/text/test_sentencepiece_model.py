from __future__ import annotations

import io
import unicodedata

import pytest
import sentencepiece

from mmcl.errors import UserError
from mmcl.text.sentencepiece_model import PieceType, read_model

CORPUS = [unicodedata.name(chr(codepoint)) for codepoint in range(0xA1, 0x1CD)]


def _train(**options) -> bytes:
    writer = io.BytesIO()
    options = {"vocab_size": 80, "minloglevel": 2, "user_defined_symbols": ["[x]"], **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=writer, **options)
    return writer.getvalue()


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_pieces_are_those_that_sentencepiece_itself_reports(model_type):
    serialized = _train(model_type=model_type)
    processor = sentencepiece.SentencePieceProcessor(model_proto=serialized)
    model = read_model(serialized)
    assert model.model_type == model_type
    assert len(model.pieces) == processor.get_piece_size()
    for index, piece in enumerate(model.pieces):
        assert piece.text == processor.id_to_piece(index)
        assert piece.score == pytest.approx(processor.get_score(index))
        assert (piece.type == PieceType.CONTROL) == processor.is_control(index)
        assert (piece.type == PieceType.UNKNOWN) == processor.is_unknown(index)
    assert [piece.text for piece in model.of_type(PieceType.USER_DEFINED)] == ["[x]"]


def test_byte_pieces_are_told_apart():
    model = read_model(_train(byte_fallback=True, vocab_size=330))
    assert [piece.text for piece in model.of_type(PieceType.BYTE)] == [f"<0x{value:02X}>" for value in range(256)]


def test_normalisation_is_read():
    default = read_model(_train())
    assert default.charsmap
    assert default.adds_dummy_prefix
    assert default.removes_extra_whitespaces
    plain = read_model(
        _train(normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False)
    )
    assert plain.charsmap == b""
    assert not plain.adds_dummy_prefix
    assert not plain.removes_extra_whitespaces


@pytest.mark.parametrize("serialized", [b"", b"no model at all", b"\xff" * 40, b"\x0a\x02\x08\x01"])
def test_what_is_no_model_is_one_clear_error(serialized):
    with pytest.raises(UserError, match="not a"):
        read_model(serialized)


def test_a_truncated_model_and_one_of_words_are_refused():
    with pytest.raises(UserError, match="cut short"):
        read_model(_train()[:-7])
    with pytest.raises(UserError, match="not a unigram or BPE model"):
        read_model(_train(model_type="char"))
