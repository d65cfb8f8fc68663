"""Read a trained SentencePiece model: the pieces, and how text is normalised before they are looked up.

The file is one protocol buffer message. Three of its fields are all that is needed, and they are read by hand: the
official reader needs protobuf, which nothing else here asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from mmcl.errors import UserError


class PieceType(IntEnum):
    """What a piece is for, by SentencePiece's numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its id is its position."""

    text: str
    score: float
    type: PieceType


@dataclass(frozen=True)
class SentencePieceModel:
    """What a trained model says.

    Attributes:
        pieces: the vocabulary, by id.
        model_type: ``unigram`` or ``bpe``.
        charsmap: compiled character replacements (NFKC, case folding ...); empty where text is taken as it is.
        adds_dummy_prefix: a space is put before the first word.
        removes_extra_whitespaces: runs of spaces become one, those at the ends none.
    """

    pieces: tuple[Piece, ...]
    model_type: str
    charsmap: bytes
    adds_dummy_prefix: bool
    removes_extra_whitespaces: bool

    def of_type(self, piece_type: PieceType) -> list[Piece]:
        """Return the pieces of one type, in the order of their ids."""
        return [piece for piece in self.pieces if piece.type == piece_type]


_MODEL_TYPES: dict[int | bytes, str] = {1: "unigram", 2: "bpe"}
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def read_model(serialized: bytes) -> SentencePieceModel:
    """Parse the bytes of a ``.model`` file.

    Raises:
        UserError: they are not a SentencePiece model, or one of words or characters, for which there is no conversion.
    """
    try:
        fields = list(_fields(serialized))
        pieces = tuple(_piece(value) for number, value in fields if number == 1 and isinstance(value, bytes))
        trainer = _message(fields, 2)
        normalizer = _message(fields, 3)
    except (IndexError, ValueError, struct.error) as error:
        raise UserError(f"not a SentencePiece model: {error}") from error
    model_type = _MODEL_TYPES.get(trainer.get(3, 1))
    if not pieces or model_type is None:
        raise UserError(f"not a unigram or BPE model of SentencePiece ({len(pieces)} pieces)")
    charsmap = normalizer.get(2, b"")
    return SentencePieceModel(
        pieces=pieces,
        model_type=model_type,
        charsmap=charsmap if isinstance(charsmap, bytes) else b"",
        adds_dummy_prefix=bool(normalizer.get(3, 1)),
        removes_extra_whitespaces=bool(normalizer.get(4, 1)),
    )


def _piece(message: bytes) -> Piece:
    fields = dict(_fields(message))
    text, score, piece_type = fields.get(1), fields.get(2, b"\0\0\0\0"), fields.get(3, 1)
    if not (isinstance(text, bytes) and isinstance(score, bytes) and isinstance(piece_type, int)):
        raise ValueError("a piece has no text")
    return Piece(text.decode(), struct.unpack("<f", score)[0], PieceType(piece_type))


def _message(fields: list[tuple[int, int | bytes]], number: int) -> dict[int, int | bytes]:
    """Return the fields of the last sub-message of that number; of a repeated field the last value."""
    messages = [value for key, value in fields if key == number and isinstance(value, bytes)]
    return dict(_fields(messages[-1])) if messages else {}


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the undecoded value of each field: an int for a varint, bytes for anything else."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(message, position)
        elif wire_type in (_FIXED_64, _FIXED_32):
            size = 8 if wire_type == _FIXED_64 else 4
        else:
            raise ValueError(f"unknown wire type {wire_type}")
        if position + size > len(message):
            raise ValueError("it is cut short")
        yield number, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
