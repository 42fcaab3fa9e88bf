"""A model's weights read one tensor at a time, the adapter merged in on the way; and written the same way.

The merge is done in float32 and rounded once to the base's own dtype: W' = cast(W + scale · B A)
(Hu et al. 2021, LoRA, eq. 3). Nothing here ever holds more than one tensor, so the peak is `peak_bytes`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bases import weights
from workbench.bases.weights import TensorInfo
from workbench.errors import BaseModelError, ExportError

if TYPE_CHECKING:
    import torch

    from workbench.exports.adapter import Adapter

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class Weights:
    """The safetensors files of one model folder: names, shapes and dtypes known, bytes read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _files(folder)
        self.infos: dict[str, TensorInfo] = {}
        self._where: dict[str, Path] = {}
        for path in self.files:
            for name, info in weights.read_header(path).items():
                self.infos[name] = info
                self._where[name] = path

    def names_in(self, path: Path) -> list[str]:
        """The tensors of one file in the order of their bytes."""
        inside = [name for name, where in self._where.items() if where == path]
        return sorted(inside, key=lambda name: self.infos[name].start)

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    @property
    def parameters(self) -> int:
        return sum(info.count for info in self.infos.values())

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor in its own dtype and shape, on the CPU."""
        import torch

        info, path = self.infos[name], self._where[name]
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            file.seek(8 + length + info.start)
            data = bytearray(file.read(info.end - info.start))
        return torch.frombuffer(data, dtype=torch_dtype(info.dtype, path.name)).reshape(info.shape)


def _files(folder: Path) -> list[Path]:
    """The folder's weight files; an ExportError naming a shard that the index has and the folder lacks."""
    index = folder / INDEX
    if not index.is_file():
        if (folder / SINGLE).is_file():
            return [folder / SINGLE]
        raise ExportError(f"{folder.name} holds no {SINGLE}.", "Only safetensors weights can be exported.")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise ExportError(f"{INDEX} of {folder.name} cannot be read.", "Download or train the model again.") from None
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise ExportError(
            f"{folder.name} lacks the weight file {missing[0]} ({len(missing)} of {len(names)} missing).",
            "Download the model again: a half-finished download cannot be exported.",
        )
    return [folder / name for name in names]


def torch_dtype(name: str, where: str) -> torch.dtype:
    """torch's dtype for safetensors' name of it; an ExportError for one that is not 16 bits or wider."""
    import torch

    known = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    if name not in known:
        raise ExportError(
            f"{where} holds tensors of the type {name}: these weights are quantised.",
            "Merging into quantised weights loses the tuning; use the 16-bit version of this base.",
        )
    return known[name]


class Merged:
    """A model with an adapter merged in, tensor by tensor; without an adapter simply the model."""

    def __init__(self, model: Weights, adapter: Adapter | None = None) -> None:
        self.model = model
        self.adapter = adapter
        if adapter is not None:
            adapter.check_fits({name: info.shape for name, info in model.infos.items()})

    @property
    def peak_bytes(self) -> int:
        """Memory while the largest tensor is merged: its bytes read and written, two float32 copies, the adapter."""
        largest = max(2 * (info.end - info.start) + 8 * info.count for info in self.model.infos.values())
        return largest + (self.adapter.size_bytes if self.adapter is not None else 0)

    def tensor(self, name: str) -> torch.Tensor:
        """The merged tensor in the base's dtype; an ExportError where it holds a value that is not finite."""
        import torch

        tensor = self.model.tensor(name)
        if self.adapter is not None and self.adapter.touches(name):
            tensor = self.adapter.apply(name, tensor)
        if not bool(torch.isfinite(tensor).all()):
            raise ExportError(
                f"The merged weights of {name} are not all finite numbers.",
                "The run diverged or its files are damaged; export an earlier run or train with a smaller rate.",
            )
        return tensor


def write_safetensors(
    path: Path,
    infos: Mapping[str, TensorInfo],
    read: Callable[[str], torch.Tensor],
    on_bytes: Callable[[int], None],
) -> None:
    """Writes the tensors of one file in the order of `infos`, one at a time, and calls `on_bytes` after each."""
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
        for name, info in infos.items():
            file.write(read(name).contiguous().view(torch.uint8).numpy().data)
            on_bytes(info.end - info.start)


def ordered(model: Weights, names: Iterable[str]) -> dict[str, TensorInfo]:
    """The infos of `names`, in their order."""
    return {name: model.infos[name] for name in names}


def readable(read: Callable[[], Weights], hint: str) -> Weights:
    """What `read` gives; damage to a file becomes an ExportError with a hint that suits whose file it is."""
    try:
        return read()
    except BaseModelError as error:
        raise ExportError(error.message, hint) from None
