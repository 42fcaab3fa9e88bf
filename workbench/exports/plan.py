"""What an export will cost in bytes, before a byte is written. No torch: shapes come from safetensors headers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench.errors import DiskFullError, MemoryFullError, SettingError
from workbench.exports.quants import BY_NAME, EXACT, HEAD_BITS, NOT_FOR_THESE
from workbench.hardware import disk_free, human_bytes

BITS: dict[str, float] = {name: quant.bits for name, quant in BY_NAME.items()}
"""Bits a weight, by falling size."""

MARGIN_BYTES = 16_000_000
"""Tokens, merges, metadata and the model card beside the weights: 10 MB for a vocabulary of 128 k."""

WIDE_ROW = 256
"""Most types store weights in blocks of so many, so a row has to divide by it."""

NARROW_BITS = ((6.0, 8.5), (5.1, 6.0), (4.4, 5.5), (0.0, 4.5))
"""(bits from, what llama.cpp stores instead) where a row does not divide by 256."""
NARROW_HEAD_BITS = 8.5


def parse_quants(text: str) -> list[str]:
    """`"f16, q8_0"` as llama.cpp's names, in the order of falling size; a SettingError names the nearest."""
    by_name = {name.lower(): name for name in BITS}
    asked = [word.strip() for word in text.replace(";", ",").split(",") if word.strip()]
    if not asked:
        raise SettingError("No GGUF type was asked for.", f"Choose from: {', '.join(BITS)}.")
    for word in asked:
        if word.upper() in NOT_FOR_THESE:
            raise SettingError(
                f"{word.upper()} is for {NOT_FOR_THESE[word.upper()]}.", f"Choose from: {', '.join(BITS)}."
            )
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
    def written(self) -> int:
        """Bytes of weights that will be written, deleted ones included."""
        return sum(self.kept.values()) + sum(self.passing.values())

    @property
    def needed(self) -> int:
        return self.written + MARGIN_BYTES

    @property
    def parts(self) -> str:
        """Each thing that is written, with its bytes."""
        parts = [f"{name} {human_bytes(size)}" for name, size in self.kept.items()]
        parts += [f"{name} for the time being {human_bytes(size)}" for name, size in self.passing.items()]
        return f"{', '.join(parts)}, tokens and text {human_bytes(MARGIN_BYTES)}"

    @property
    def sentence(self) -> str:
        return f"{human_bytes(self.needed)} in all: {self.parts}"

    def check(self, folder: Path) -> str:
        """The plan beside what is free, in words; a DiskFullError with the numbers where there is too little room."""
        free = disk_free(folder)
        if free < self.needed:
            raise DiskFullError(
                f"The export needs {self.sentence}; the disk has {human_bytes(free)} free.",
                f"Free {human_bytes(self.needed - free)}, name another folder with out, or ask for fewer types.",
            )
        return f"Needs {self.sentence}; the disk has {human_bytes(free)} free."


def merged_bytes(size_bytes: int) -> BytePlan:
    """The plan of a merged export: as large as the base's own files."""
    return BytePlan({"merged weights": size_bytes})


def gguf_bytes(parameters: int, quants: Sequence[str], *, narrow: bool = False, head: int = 0) -> BytePlan:
    """The plan of a GGUF export. `narrow`: rows that do not divide by 256. `head`: how many are the output head's."""
    kept = {name: quantised_bytes(parameters, name, narrow=narrow, head=head) for name in quants}
    source = source_type(quants)
    passing = {} if source in quants else {source: quantised_bytes(parameters, source)}
    return BytePlan(kept, passing)


def quantised_bytes(parameters: int, name: str, *, narrow: bool = False, head: int = 0) -> int:
    """The estimated size of one file."""
    quant = BY_NAME[name]
    bits, head_bits = quant.bits, quant.head_bits
    if narrow and not quant.any_width and not quant.exact:
        bits = max(bits, next(wide for least, wide in NARROW_BITS if bits >= least))
        head_bits = max(head_bits, NARROW_HEAD_BITS)
    elif narrow and head_bits == HEAD_BITS:
        head_bits = NARROW_HEAD_BITS
    return int(((parameters - head) * bits + head * head_bits) / 8)


def source_type(quants: Sequence[str]) -> str:
    """The unquantised GGUF that the others are made from: f16, or the only other one that is asked for."""
    asked = [name for name in EXACT if name in quants]
    return "f16" if "f16" in asked or not asked else asked[0]


def check_memory(needed: int, available: int, what: str) -> None:
    """A MemoryFullError with the numbers where an export would not fit in memory."""
    if available and needed > available:
        raise MemoryFullError(
            f"{what} needs about {human_bytes(needed)} of memory; {human_bytes(available)} are free.",
            "Close other programs, or export on a machine with more memory: the run's folder can be copied there.",
        )
