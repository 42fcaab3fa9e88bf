"""What an export will cost in bytes, before a byte is written. No torch: shapes come from safetensors headers."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench.errors import DiskFullError, MemoryFullError, SettingError

BITS: dict[str, float] = {"f32": 32.0, "f16": 16.0, "Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.8, "Q4_K_M": 5.1}
"""Bits a weight, rounded up from llama.cpp's own tables; scales and the layers it keeps wider included."""

MARGIN_BYTES = 16_000_000
"""Tokens, merges, metadata and the model card beside the weights: 10 MB for a vocabulary of 128 k."""

NARROW_BITS = 8.5
"""K-quants need rows that divide by 256; llama.cpp stores other tensors wider, at worst as Q8_0."""


def parse_quants(text: str) -> list[str]:
    """`"f16, q8_0"` as llama.cpp's names, in the order of falling size; a SettingError names the nearest."""
    by_name = {name.lower(): name for name in BITS}
    asked = [word.strip() for word in text.replace(";", ",").split(",") if word.strip()]
    if not asked:
        raise SettingError("No GGUF type was asked for.", f"Choose from: {', '.join(BITS)}.")
    for word in asked:
        if word.lower() not in by_name:
            near = difflib.get_close_matches(word.lower(), by_name, n=1, cutoff=0.4)
            hint = f"Did you mean {by_name[near[0]]}?" if near else ""
            raise SettingError(
                f"There is no GGUF type called {word!r}.", f"{hint} There are: {', '.join(BITS)}.".strip()
            )
    wanted = {by_name[word.lower()] for word in asked}
    return [name for name in BITS if name in wanted]


@dataclass(frozen=True)
class BytePlan:
    """Bytes by what they are for. `passing` ones are deleted before the export ends."""

    kept: dict[str, int]
    passing: dict[str, int] = field(default_factory=dict)

    @property
    def needed(self) -> int:
        return sum(self.kept.values()) + sum(self.passing.values()) + MARGIN_BYTES

    @property
    def sentence(self) -> str:
        parts = [f"{name} {megabytes(size)}" for name, size in self.kept.items()]
        parts += [f"{name} for the time being {megabytes(size)}" for name, size in self.passing.items()]
        return f"{megabytes(self.needed)} in all: {', '.join(parts)}, tokens and text {megabytes(MARGIN_BYTES)}"

    def check(self, folder: Path) -> None:
        """A DiskFullError with the numbers where the disk that holds `folder` has too little room."""
        free = free_bytes(folder)
        if free < self.needed:
            raise DiskFullError(
                f"The export needs {self.sentence}; the disk has {megabytes(free)} free.",
                f"Free {megabytes(self.needed - free)}, name another folder with out, or ask for fewer types.",
            )


def merged_bytes(size_bytes: int) -> BytePlan:
    """The plan of a merged export: as large as the base's own files."""
    return BytePlan({"merged weights": size_bytes})


def gguf_bytes(parameters: int, quants: Sequence[str], *, narrow: bool = False) -> BytePlan:
    """The plan of a GGUF export. `narrow`: the model's rows do not divide by 256."""
    kept = {name: int(parameters * _bits(name, narrow) / 8) for name in quants}
    source = source_type(quants)
    passing = {} if source in quants else {source: int(parameters * BITS[source] / 8)}
    return BytePlan(kept, passing)


def source_type(quants: Sequence[str]) -> str:
    """The unquantised GGUF that the others are made from: f32 where it is asked for, else f16."""
    return "f32" if "f32" in quants and "f16" not in quants else "f16"


def _bits(name: str, narrow: bool) -> float:
    return max(BITS[name], NARROW_BITS) if narrow else BITS[name]


def check_memory(needed: int, available: int, what: str) -> None:
    """A MemoryFullError with the numbers where an export would not fit in memory."""
    if available and needed > available:
        raise MemoryFullError(
            f"{what} needs about {megabytes(needed)} of memory; {megabytes(available)} are free.",
            "Close other programs, or export on a machine with more memory: the run's folder can be copied there.",
        )


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds `folder`, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def megabytes(size: float) -> str:
    """Bytes for people: 3.4 MB, 15.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
