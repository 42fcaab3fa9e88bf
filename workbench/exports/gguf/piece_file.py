"""Reads a tokenizer.model, SentencePiece's own file, without its library: tokens, scores and types.

The file is a protocol buffer (sentencepiece/src/sentencepiece_model.proto): field 1, repeated, is a piece with its text
(1), score (2, float32) and type (3). Everything else in it is skipped.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from workbench.exports.gguf.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, Piece

MAX_BYTES = 64_000_000
"""Gemma's, of 262,144 pieces, is 4.7 MB."""

TYPES = {1: NORMAL, 2: UNKNOWN, 3: CONTROL, 4: NORMAL, 5: UNUSED, 6: BYTE}
"""SentencePiece's types as llama.cpp's converter reads them: a symbol of the user's is a normal token at first."""

_USUAL = re.compile(rb"\x0a([\x00-\x7f])(.*)\x15(....)(?:\x18([\x01-\x06]))?", re.DOTALL)
"""A piece as SentencePiece writes it: length, text, score, and a type unless it is a normal one. Gemma has 262,144."""

VARINT, EIGHT_BYTES, COUNTED, FOUR_BYTES = 0, 1, 2, 5
"""The wire types of protocol buffers."""


def read(path: Path) -> list[Piece]:
    """The pieces in the order of their ids; none where the file is missing or is not what its name says."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return []
        data = path.read_bytes()
        return [_piece(value) for field, value in _fields(data) if field == 1 and isinstance(value, bytes)]
    except (OSError, ValueError, IndexError, struct.error, UnicodeDecodeError):
        return []


def _piece(data: bytes) -> Piece:
    usual = _USUAL.fullmatch(data)
    if usual is not None and len(usual[2]) == usual[1][0]:
        kind = usual[4][0] if usual[4] else 1
        return Piece(usual[2].decode("utf-8"), struct.unpack("<f", usual[3])[0], TYPES.get(kind, NORMAL))
    text, score, kind = "", 0.0, 1
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif field == 2 and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif field == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, TYPES.get(kind, NORMAL))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field: an int where the wire type is varint, else bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == COUNTED:
            length, at = _varint(data, at)
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            length = 8 if wire == EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(data):
            raise ValueError("cut short")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next one begins."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
