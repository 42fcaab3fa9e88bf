"""Reads a GGUF file's keys and tensors in one pass, far quicker than the `gguf` package where tokens are many.

The layout is ggml/docs/gguf.md's: magic, version, counts, keys with typed values, tensor infos, aligned data.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
ITEM_BYTES = {0: 4, 1: 2, 30: 2}
"""GGML's F32, F16 and BF16."""


@dataclass(frozen=True)
class Stored:
    """One tensor: GGML's type of it, its shape as torch says it, and its bytes."""

    type: int
    shape: tuple[int, ...]
    data: bytes

    @property
    def digest(self) -> str:
        """Enough of its SHA-256 to tell it from any other."""
        return hashlib.sha256(self.data).hexdigest()[:16]


class File:
    """The keys (with their types) and the tensors of a GGUF file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = 24
        _, tensors, keys = struct.unpack_from("<IQQ", self._data, 4)
        self.keys: dict[str, tuple[Any, Any]] = {}
        for _ in range(keys):
            name = self._string()
            (kind,) = self._numbers("I", 1)
            self.keys[name] = self._value(kind)
        infos = [self._info() for _ in range(tensors)]
        start = -(-self._at // 32) * 32
        self.tensors = {name: self._stored(kind, shape, start + offset) for name, kind, shape, offset in infos}

    def value(self, name: str, default: Any = None) -> Any:
        """A key's value without its type."""
        return self.keys.get(name, (None, default))[1]

    def _value(self, kind: int) -> tuple[Any, Any]:
        if kind == STRING:
            return STRING, self._string()
        if kind != ARRAY:
            return kind, self._numbers(SCALARS[kind], 1)[0]
        (inner,) = self._numbers("I", 1)
        (count,) = self._numbers("Q", 1)
        if inner == STRING:
            return (ARRAY, STRING), [self._string() for _ in range(count)]
        return (ARRAY, inner), list(self._numbers(SCALARS[inner], count))

    def _string(self) -> str:
        (length,) = struct.unpack_from("<Q", self._data, self._at)
        self._at += 8 + length
        return self._data[self._at - length : self._at].decode("utf-8", "surrogateescape")

    def _numbers(self, letter: str, count: int) -> tuple[Any, ...]:
        form = f"<{count}{letter}"
        found = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return found

    def _info(self) -> tuple[str, int, tuple[int, ...], int]:
        name = self._string()
        (dimensions,) = self._numbers("I", 1)
        shape = tuple(reversed(self._numbers("Q", dimensions)))
        (kind,) = self._numbers("I", 1)
        (offset,) = self._numbers("Q", 1)
        return name, kind, shape, offset

    def _stored(self, kind: int, shape: tuple[int, ...], start: int) -> Stored:
        return Stored(kind, shape, self._data[start : start + math.prod(shape) * ITEM_BYTES[kind]])
