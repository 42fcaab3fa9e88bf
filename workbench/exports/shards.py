"""Tensors in safetensors files, read a few rows at a time and written the same way: never a whole file in memory.

Reading into one's own memory instead of mapping the file keeps the peak at what is held, and a file that is cut while
it is read becomes a sentence instead of a bus error.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bases import weights
from workbench.bases.weights import TensorInfo
from workbench.errors import ExportError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

BLOCK_BYTES = 1 << 24
"""Bytes of float32 worked on at once: small enough to be nothing beside a tensor, large enough to keep a core busy."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KINDS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""safetensors' names of types, and torch's."""

_AGAIN = "Download the model again, or train the run again."


class Tensors:
    """Some safetensors files: names, shapes and types known, bytes read when asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self.infos: dict[str, TensorInfo] = {}
        self._where: dict[str, Path] = {}
        self._real: dict[str, str] = {}
        for path in self.files:
            for name, info in weights.read_header(path).items():
                self.infos[name] = info
                self._where[name] = path

    def also_as(self, name: str, real: str) -> None:
        """Lets a tensor be found under a second name too, as if the last file ended with a copy of it."""
        self.infos[name] = self.infos[real]
        self._real[name] = real

    def file_of(self, name: str) -> Path:
        """The file in which a tensor is, or would be if it were a copy."""
        return self.files[-1] if name in self._real else self._where[name]

    def names_in(self, path: Path) -> list[str]:
        """The tensors of one file in the order of their bytes, copies last."""
        inside = [name for name in self.infos if self.file_of(name) == path]
        return sorted(inside, key=lambda name: (name in self._real, self.infos[name].start))

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    @property
    def parameters(self) -> int:
        return sum(info.count for info in self.infos.values())

    def tensor(self, name: str) -> torch.Tensor:
        """One whole tensor in its own type and shape, on the CPU."""
        return self.rows(name, 0, rows_of(self.infos[name])).reshape(self.infos[name].shape)

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        """Rows `first` to `last` (its first dimension; a scalar is one row) in the tensor's own type."""
        import torch

        info, path = self.infos[name], self._where[self._real.get(name, name)]
        width = (info.end - info.start) // max(1, rows_of(info))
        data = bytearray((last - first) * width)
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            file.seek(8 + length + info.start + first * width)
            if file.readinto(data) != len(data):
                raise ExportError(f"{path.name} ends in the middle of {name}: it was cut short.", _AGAIN)
        shape = (last - first, *info.shape[1:])
        kind = getattr(torch, _known(info.dtype, path.name))
        return torch.frombuffer(data, dtype=kind).reshape(shape) if data else torch.empty(shape, dtype=kind)

    def blocks(self, name: str, together: int = 1) -> Iterator[tuple[int, torch.Tensor]]:
        """The tensor in blocks of rows, each with the number of its first row; see `spans`."""
        for first, last in spans(self.infos[name], together):
            yield first, self.rows(name, first, last)

    def check_content(self, on_bytes: Callable[[int], None]) -> None:
        """An ExportError for a file that is not what its name says: the hub's cache names files by their SHA-256."""
        for path in self.files:
            named = path.resolve().name
            if not _DIGEST.fullmatch(named):
                continue
            sha = hashlib.sha256()
            with path.open("rb") as file:
                while data := file.read(BLOCK_BYTES):
                    sha.update(data)
                    on_bytes(len(data))
            if sha.hexdigest() != named:
                raise ExportError(
                    f"{path.name} is damaged: its content is not what was downloaded.",
                    "Delete the model from the hub's cache and get it again: workbench models --get ID",
                )


class Weights(Tensors):
    """The safetensors files of one model folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(_files(folder))


def rows_of(info: TensorInfo) -> int:
    """How many rows a tensor has; a scalar has one."""
    return info.shape[0] if info.shape else 1


def spans(info: TensorInfo, together: int = 1) -> Iterator[tuple[int, int]]:
    """First and last row of each block: about BLOCK_BYTES of float32, and `together` rows or a multiple of them."""
    rows = rows_of(info)
    fitting = BLOCK_BYTES // max(1, 4 * info.count // max(1, rows))
    step = max(1, fitting // together) * together
    for first in range(0, rows, step):
        yield first, min(rows, first + step)


def _files(folder: Path) -> list[Path]:
    """The folder's weight files; an ExportError naming a shard that the index has and the folder lacks."""
    index = folder / INDEX
    if not index.is_file():
        if (folder / SINGLE).is_file():
            return [folder / SINGLE]
        raise ExportError(f"{folder.name} holds no {SINGLE}.", "Only safetensors weights can be exported.")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise ExportError(f"{INDEX} of {folder.name} cannot be read.", "Download or train the model again.") from None
    if missing:
        raise ExportError(
            f"{folder.name} lacks the weight file {missing[0]} ({len(missing)} of {len(names)} missing).",
            "Download the model again: a half-finished download cannot be exported.",
        )
    return [folder / name for name in names]


def _known(kind: str, where: str) -> str:
    if kind not in _KINDS:
        raise quantised(where, kind)
    return _KINDS[kind]


def quantised(where: str, kind: str) -> ExportError:
    """The refusal of weights that have been quantised already."""
    return ExportError(
        f"{where} holds tensors of the type {kind}: these weights are quantised.",
        "Merging into quantised weights loses the tuning; use the 16-bit version of this base: --set base16=MODEL",
    )


def torch_dtype(name: str, where: str) -> torch.dtype:
    """torch's type of a weight; an ExportError for one that is no number of 16 bits or more."""
    import torch

    if name not in weights.FLOATING:
        raise quantised(where, name)
    found: torch.dtype = getattr(torch, weights.FLOATING[name])
    return found


def write_safetensors(
    path: Path,
    infos: Mapping[str, TensorInfo],
    blocks: Callable[[str], Iterator[torch.Tensor]],
    on_bytes: Callable[[int], None],
) -> None:
    """Writes the tensors of one file in the order of `infos`, block by block, and calls `on_bytes` after each."""
    import torch

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, info in infos.items():
        size = info.end - info.start
        header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in infos:
            for block in blocks(name):
                data = block.contiguous().reshape(-1).view(torch.uint8).numpy().data
                file.write(data)
                on_bytes(data.nbytes)


def ordered(model: Tensors, names: Iterable[str]) -> dict[str, TensorInfo]:
    """The infos of `names`, in their order."""
    return {name: model.infos[name] for name in names}
