"""What a safetensors file holds, read from its header alone: no torch, no tensor data, nothing trusted.

The layout is eight bytes of header length (little endian), that many bytes of JSON, then the tensors' bytes. It never
reads a pickle.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import BaseModelError

MAX_HEADER_BYTES = 16_000_000
"""Headers of the largest public shards stay under 1 MB; a longer one is damage or an attack."""
ENDS_BYTES = 65_536
"""How much of a file's beginning and end names it: enough that retrained weights differ, instant at any size."""

BYTES_OF_DTYPE = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
FLOATING = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Safetensors' names of the dtypes one can train, and torch's names for them."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header describes it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file by name; a BaseModelError in a sentence where the header is not sound."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            if len(prefix) < 8:
                raise _damaged(path, "it is empty" if size == 0 else "it ends before its header")
            (length,) = struct.unpack("<Q", prefix)
            if length > size - 8:
                raise _damaged(path, f"its header claims {length:,} bytes and the file has {size:,}")
            if length > MAX_HEADER_BYTES:
                raise _damaged(path, f"its header claims {length:,} bytes, more than any real model's")
            header = json.loads(file.read(length))
    except OSError as error:
        raise BaseModelError(f"{path.name} cannot be read ({error.strerror}).", "Download the model again.") from None
    except (ValueError, RecursionError):
        raise _damaged(path, "its header is not JSON") from None
    return _checked(path, header, size - 8 - length)


def _checked(path: Path, header: Any, room: int) -> dict[str, TensorInfo]:
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a table of tensors")
    tensors: dict[str, TensorInfo] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            tensors[name] = _tensor(path, name, entry)
    end_of_last = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != end_of_last:
            raise _damaged(path, f"the bytes of {name[:80]!r} overlap another tensor's or leave a gap")
        end_of_last = tensor.end
    if end_of_last > room:
        raise _damaged(path, f"its tensors need {end_of_last:,} bytes and it holds {room:,}: it was cut short")
    return tensors


def _tensor(path: Path, name: str, entry: Any) -> TensorInfo:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
        if not isinstance(dtype, str) or not whole or len(shape) > 16:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, f"its header describes {name[:80]!r} wrongly") from None
    width = BYTES_OF_DTYPE.get(dtype)
    if end < start or (width is not None and end - start != math.prod(shape) * width):
        raise _damaged(path, f"{name[:80]!r} has other bytes than its shape needs")
    return TensorInfo(dtype, shape, start, end)


def _damaged(path: Path, why: str) -> BaseModelError:
    return BaseModelError(f"{path.name} is damaged: {why}.", "Download the model again.")


def fingerprint(folder: Path) -> str:
    """Names a model by its content: SHA-256 over config.json and, of every weights file, name, size and both ends.

    The beginning holds the header. Reading both ends keeps it instant at any size and tells retrained weights of
    one shape apart.
    """
    sha = hashlib.sha256()
    try:
        sha.update((folder / "config.json").read_bytes())
        for path in sorted(folder.glob("*.safetensors")):
            size = path.stat().st_size
            sha.update(f"\0{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                sha.update(file.read(ENDS_BYTES))
                file.seek(max(0, size - ENDS_BYTES))
                sha.update(file.read(ENDS_BYTES))
    except OSError as error:
        raise BaseModelError(
            f"The model in {folder} cannot be read ({error.strerror}).", "Check the folder or download it again."
        ) from None
    return sha.hexdigest()
