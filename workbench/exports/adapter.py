"""A LoRA adapter on disk, checked before use: what it changes, by how much, and whether it fits the base.

It accepts plain LoRA, rank-stabilised scaling, per-layer ranks and wholly trained modules, which is what the
workbench trains; every other variant is refused by name, because a merge that ignores a part is a wrong merge.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bases import weights
from workbench.errors import BaseModelError, ExportError
from workbench.exports.tensors import torch_dtype

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_AGAIN = "Export the run from a checkpoint that is whole, or train it again."

_REFUSED: dict[str, Any] = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "layer_replication": "layer replication",
    "lora_bias": "biases of LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "trainable_token_indices": "single trained tokens",
    "fan_in_fan_out": "transposed weights",
    "target_parameters": "LoRA on bare parameters",
}


class Adapter:
    """One LoRA adapter; tensors are read when they are merged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = _read_config(folder)
        try:
            self._infos = weights.read_header(folder / WEIGHTS)
        except BaseModelError as error:
            raise ExportError(f"The adapter is unusable: {error.message}", _AGAIN) from None
        self._low: dict[str, tuple[str, str]] = {}
        self._whole: dict[str, str] = {}
        self._sort_tensors()
        self._loaded: dict[str, torch.Tensor] | None = None

    def _sort_tensors(self) -> None:
        for key in self._infos:
            name = key.removeprefix(_PREFIX)
            if name.endswith(".lora_A.weight"):
                module = name.removesuffix(".lora_A.weight")
                self._low[f"{module}.weight"] = (key, key.replace(".lora_A.", ".lora_B."))
            elif re.search(r"\.lora_(?!B\.weight$)", name):
                raise ExportError(f"The adapter holds {name}, which cannot be merged yet.", "Chat with it as it is.")
            elif ".lora_" not in name:
                self._whole[name] = key
        orphans = [a for a, b in self._low.values() if b not in self._infos]
        if orphans:
            raise ExportError(f"The adapter lacks the other half of {orphans[0]}.", _AGAIN)

    def touches(self, name: str) -> bool:
        """Whether merging changes the base's tensor of that name."""
        return name in self._low or name in self._whole

    @property
    def touched(self) -> list[str]:
        return [*self._low, *self._whole]

    @property
    def size_bytes(self) -> int:
        return sum(info.end - info.start for info in self._infos.values())

    def check_fits(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """An ExportError where the adapter was trained on a base with other layers."""
        for name, (a, b) in self._low.items():
            made = (self._infos[b].shape[0], self._infos[a].shape[-1])
            if shapes.get(name) != made:
                raise self._other_base(name, made, shapes.get(name))
        for name, key in self._whole.items():
            if shapes.get(name) != self._infos[key].shape:
                raise self._other_base(name, self._infos[key].shape, shapes.get(name))

    def _other_base(self, name: str, made: tuple[int, ...], there: tuple[int, ...] | None) -> ExportError:
        has = f"the base has {list(there)}" if there else "the base has no such tensor of its own"
        return ExportError(
            f"This adapter belongs to another base: it changes {name} as {list(made)}, and {has}.",
            "Export it with the base that the run was trained on.",
        )

    def scale(self, name: str) -> float:
        """alpha / rank, or alpha / √rank when rank-stabilised (Kalajdzievski 2023)."""
        rank = self._infos[self._low[name][0]].shape[0]
        module = name.removesuffix(".weight")
        alpha = float(self.config.get("lora_alpha", 8))
        for pattern, value in (self.config.get("alpha_pattern") or {}).items():
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                alpha = float(value)
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def apply(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor with this adapter's change, in the tensor's own dtype."""
        if name in self._whole:
            return self._tensor(self._whole[name]).to(tensor.dtype)
        a, b = (self._tensor(key).float() for key in self._low[name])  # (r, in), (out, r)
        return tensor.float().add_(b @ a, alpha=self.scale(name)).to(tensor.dtype)

    def _tensor(self, key: str) -> torch.Tensor:
        if self._loaded is None:
            import safetensors.torch

            self._loaded = safetensors.torch.load_file(self.folder / WEIGHTS)
            for info in self._infos.values():
                torch_dtype(info.dtype, WEIGHTS)
        return self._loaded[key]


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise ExportError(f"The adapter's {CONFIG} cannot be read ({type(error).__name__}).", _AGAIN) from None
    if config.get("peft_type") != "LORA":
        raise ExportError(f"The adapter is of the kind {config.get('peft_type')}; only LoRA can be merged.", "")
    for key, what in _REFUSED.items():
        if config.get(key):
            raise ExportError(f"The adapter uses {what}, which cannot be merged yet.", "Train it with plain LoRA.")
    if config.get("bias", "none") != "none":
        raise ExportError("The adapter trains biases too, which cannot be merged yet.", "Train it with bias none.")
    how = config.get("init_lora_weights", True)
    if not isinstance(how, bool) and how not in ("gaussian", "eva", "orthogonal"):
        raise ExportError(
            f"The adapter was started with {how!r}, which changes the base's own weights.",
            "Convert it to a plain LoRA first, or train it with the default start.",
        )
    return config
