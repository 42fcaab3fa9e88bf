"""Keeps what a benchmark printed, with day, versions and the machine's size, in tests/benchmarks/results/NAME.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results"
PACKAGES = ("llama-cpp-python", "gguf", "transformers", "torch", "numpy", "safetensors", "tokenizers")


class Table:
    """Lines that are printed as they come, and kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)


def conditions() -> str:
    """When and with what this was measured; the load says how quiet the machine was."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    day = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{day}; Python {platform.python_version()}, {versions}; {os.cpu_count()} processors, load {load}"


def save(name: str, title: str, command: str, lines: Sequence[str], began: str) -> Path:
    """Writes the printed lines as they were printed; `began` are the `conditions` at the start."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    text = "\n".join(lines)
    path.write_text(f"# {title}\n\n`{command}`\n\n{began}\n\n```\n{text}\n```\n", encoding="utf-8")
    return path
