"""The machine and the base in one line, as Home and the training form show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.bench import Bench


def machine_line(bench: Bench) -> str:
    """`bundled · 3.7 M parameters · NVIDIA RTX 3060 · 12 GiB`; reads files and asks the driver, so not for a frame."""
    from workbench import bases

    try:
        base = bases.resolve(bench.base)
        model = f"{base.name} · {in_words(base.parameters)} parameters"
    except WorkbenchError as error:  # Home still opens; Models says what to do
        model = f"{bench.base}: {error.message}"
    return f"{model} · {bench.hardware.summary}"


def in_words(number: float) -> str:
    """`3.7 M`, `7.2 B`: three figures and a letter."""
    for limit, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return f"{number / limit:.3g}{letter}"
    return f"{number:g}"


def bytes_in_words(size_bytes: float | None) -> str:
    """`812 kB`, `4.1 GB`: powers of ten, as disks and cards are sold."""
    if size_bytes is None:
        return "unknown"
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= limit:
            return f"{size_bytes / limit:.3g} {unit}"
    return f"{size_bytes:.0f} B"
