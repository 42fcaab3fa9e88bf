"""A LoRA adapter on disk, checked before use: what it changes, by how much, and whether it fits the base.

It knows plain LoRA, rank-stabilised and weight-decomposed (DoRA), ranks and alphas by layer, embeddings, and wholly
trained modules. Every other variant is refused by name, because a merge that ignores a part is a wrong merge.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bases.weights import FLOATING, TensorInfo
from workbench.errors import BaseModelError, ExportError
from workbench.exports.lowrank import Change
from workbench.exports.shards import Tensors, spans, torch_dtype

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_AGAIN = "Export the run from a checkpoint that is whole, or train it again."

_REFUSED: dict[str, str] = {
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "layer_replication": "layer replication",
    "lora_bias": "biases of LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "trainable_token_indices": "single trained tokens",
    "target_parameters": "LoRA on bare parameters",
}
_SOFT_PROMPTS = ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "CARTRIDGE")

_PARTS = {
    ".lora_A.weight": "a",
    ".lora_B.weight": "b",
    ".lora_embedding_A": "a",
    ".lora_embedding_B": "b",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
}
"""How the names of a low-rank layer's tensors end, and what they are."""


class Adapter:
    """One LoRA adapter; tensors are read when they are merged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = _read_config(folder)
        try:
            self._tensors = Tensors([folder / WEIGHTS])
        except BaseModelError as error:
            raise ExportError(f"The adapter is unusable: {error.message}", _AGAIN) from None
        self._low: dict[str, dict[str, str]] = {}
        self._whole: dict[str, str] = {}
        self._embeddings: set[str] = set()
        for key, info in self._tensors.infos.items():
            self._sort(key, info)
        self._check_parts()
        self._called: dict[str, str] = {name: name for name in (*self._low, *self._whole)}
        self._shapes: Mapping[str, tuple[int, ...]] = {}

    def _sort(self, key: str, info: TensorInfo) -> None:
        """Puts one tensor of the file where it belongs: to a low-rank layer, or among the wholly trained."""
        if info.dtype not in FLOATING:
            raise ExportError(f"The adapter holds {key} as {info.dtype}, which is no weight.", _AGAIN)
        name = key.removeprefix(_PREFIX)
        ending = next((ending for ending in _PARTS if name.endswith(ending)), None)
        if ending is not None:
            layer = f"{name.removesuffix(ending)}.weight"
            self._low.setdefault(layer, {})[_PARTS[ending]] = key
            if "embedding" in ending:
                self._embeddings.add(layer)
        elif ".lora_" in name or "token_adapter" in name:
            raise ExportError(f"The adapter holds {name}, which cannot be merged yet.", "Chat with it as it is.")
        elif not name.endswith(".base_layer.weight"):  # a copy of the base's own weight, which peft saves unasked
            self._whole[name.replace(".base_layer.", ".")] = key

    def _check_parts(self) -> None:
        if not self._low and not self._whole:
            raise ExportError("The adapter holds no trained weight at all.", _AGAIN)
        dora = bool(self.config.get("use_dora"))
        for name, parts in self._low.items():
            missing = {"a", "b", *(["magnitude"] if dora else [])} - parts.keys()
            if missing & {"a", "b"}:
                raise ExportError(f"The adapter lacks the other half of {next(iter(parts.values()))}.", _AGAIN)
            if missing or (not dora and "magnitude" in parts):
                raise ExportError(f"The adapter's magnitudes of {name} do not go with its settings.", _AGAIN)
            ranks = self._shape(parts["a"])[0], self._shape(parts["b"])[-1]
            if ranks[0] != ranks[1] or ranks[0] != self._rank(name):
                raise ExportError(
                    f"The adapter's {name} has rank {ranks[0]}, and its settings say {self._rank(name)}.", _AGAIN
                )

    def _shape(self, key: str) -> tuple[int, ...]:
        return self._tensors.infos[key].shape

    # -- what it changes

    def touches(self, name: str) -> bool:
        """Whether merging changes the base's tensor of that name."""
        return name in self._called

    @property
    def touched(self) -> list[str]:
        """The base's tensors that merging changes, by the base's names once `check_fits` has seen them."""
        return list(self._called)

    def is_low_rank(self, name: str) -> bool:
        """Whether the change is a product of two small matrices; otherwise the tensor was trained as a whole."""
        return self._called[name] in self._low

    def leaves_alone(self, name: str) -> None:
        """Forgets its change of a tensor, which another tensor's change already makes."""
        for names in (self._called, self._low, self._whole):
            names.pop(name, None)

    @property
    def keeps_ties(self) -> bool:
        """Whether embedding and output head, tied in the base, were trained as one."""
        return bool(self.config.get("ensure_weight_tying"))

    @property
    def uses_dora(self) -> bool:
        return bool(self.config.get("use_dora"))

    @property
    def size_bytes(self) -> int:
        return sum(info.end - info.start for info in self._tensors.infos.values())

    def check_fits(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """An ExportError where the adapter was trained on a base with other layers."""
        called: dict[str, str] = {}
        for name in (*self._low, *self._whole):
            there = next((n for n in (name, name.partition(".")[2]) if n in shapes), name)  # files may lack a prefix
            made = self._made(name)
            if shapes.get(there) not in made:
                raise _other_base(name, made[0], shapes.get(there))
            called[there] = name
        self._called, self._shapes = called, shapes

    def _made(self, name: str) -> list[tuple[int, ...]]:
        """The shapes of a base's weight that its change of `name` fits."""
        if name in self._whole:
            return [self._shape(self._whole[name])]
        out, into = self._shape(self._low[name]["b"])[0], self._shape(self._low[name]["a"])[-1]
        return [(into, out)] if name in self._embeddings else [(out, into), (into, out)]

    # -- by how much

    def scale(self, name: str) -> float:
        """alpha / rank, or alpha / √rank when rank-stabilised (Kalajdzievski 2023)."""
        layer = self._called.get(name, name)
        alpha = float(self._pattern("alpha_pattern", layer, self.config.get("lora_alpha", 8)))
        rank = self._rank(layer)
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _rank(self, name: str) -> int:
        return int(self._pattern("rank_pattern", name, self.config.get("r", 8)))

    def _pattern(self, which: str, name: str, usual: Any) -> Any:
        """The value of the first pattern that a layer's name ends with, as peft looks it up."""
        module = name.removesuffix(".weight")
        for pattern, value in (self.config.get(which) or {}).items():
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                return value
        return usual

    def change(self, name: str) -> Change:
        """The low-rank change of the base's tensor, read from the file."""
        layer = self._called.get(name, name)
        parts = {part: self._tensors.tensor(key).float() for part, key in self._low[layer].items()}
        return Change(parts["a"], parts["b"], self.scale(name), self._transposed(name), parts.get("magnitude"))

    def _transposed(self, name: str) -> bool:
        layer = self._called.get(name, name)
        if layer in self._embeddings:
            return True
        usual, turned = self._made(layer)
        if usual == turned:  # a square weight does not show which way it lies
            return bool(self.config.get("fan_in_fan_out"))
        return self._shapes.get(name, usual) == turned

    def blocks(self, name: str, base: Tensors, together: int = 1) -> Iterator[torch.Tensor]:
        """The base's tensor with this adapter's change, block by block, rounded once to the base's type."""
        info = base.infos[name]
        dtype = torch_dtype(info.dtype, base.file_of(name).name)
        layer = self._called[name]
        if layer in self._whole:
            for first, last in spans(info, together):
                yield self._tensors.rows(self._whole[layer], first, last).to(dtype)
            return
        change = self.change(name)
        if change.needs_norms():
            change.see(base.blocks(name))
        for first, block in base.blocks(name, together):
            yield change.apply(first, block).to(dtype)


def _other_base(name: str, made: tuple[int, ...], there: tuple[int, ...] | None) -> ExportError:
    has = f"the base has {list(there)}" if there else "the base has no such tensor of its own"
    return ExportError(
        f"This adapter belongs to another base: it changes {name} as {list(made)}, and {has}.",
        "Export it with the base that the run was trained on.",
    )


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise ExportError(f"The adapter's {CONFIG} cannot be read ({type(error).__name__}).", _AGAIN) from None
    kind = config.get("peft_type")
    if kind in _SOFT_PROMPTS:
        raise ExportError(
            f"The run learnt a soft prompt ({kind}), not weights: there is nothing that could be merged.",
            "Chat with the run as it is, or train it with how = lora to export it.",
        )
    if kind != "LORA":
        raise ExportError(f"The adapter is of the kind {kind}; only LoRA can be merged.", "Chat with it as it is.")
    for key, what in _REFUSED.items():
        if config.get(key):
            raise ExportError(f"The adapter uses {what}, which cannot be merged yet.", "Train it with plain LoRA.")
    how = config.get("init_lora_weights", True)
    if not isinstance(how, bool) and how not in ("gaussian", "eva", "orthogonal"):
        raise ExportError(
            f"The adapter was started with {how!r}, which changes the base's own weights.",
            "Convert it to a plain LoRA first, or train it with the default start.",
        )
    return config
