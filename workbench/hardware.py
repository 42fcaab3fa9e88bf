"""The machine, looked at without torch: the card through `nvidia-smi`, memory and cores through the system."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from workbench.errors import DiskFullError

GIB = 2**30
SMI_SECONDS = 10.0
"""A card that sleeps takes seconds to answer its first question."""
WSL_SMI = Path("/usr/lib/wsl/lib/nvidia-smi")
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Hardware:
    """What a run can use. `vram_bytes` is None without a card that torch can train on."""

    name: str
    vram_bytes: int | None
    free_vram_bytes: int | None
    ram_bytes: int
    cores: int
    driver: str = ""

    @property
    def has_card(self) -> bool:
        return self.vram_bytes is not None

    @property
    def summary(self) -> str:
        """One line: 'NVIDIA RTX 3060 · 12 GiB' or 'CPU only · 16 cores · 31 GiB'."""
        if self.vram_bytes is not None:
            return f"{self.name} · {self.vram_bytes / GIB:.0f} GiB"
        return f"CPU only · {self.cores} cores · {self.ram_bytes / GIB:.0f} GiB"


@cache
def detect() -> Hardware:
    """The machine as found at the first call."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    card = _card()
    if card is None:
        return Hardware(_processor(), None, None, ram_bytes(), cores)
    name, total, free, driver = card
    return Hardware(name, total, free, ram_bytes(), cores, driver)


def ram_bytes() -> int:
    """Memory that this process may use: the machine's, or the container's if that is less."""
    import psutil

    total = int(psutil.virtual_memory().total)
    for path in CGROUP_LIMITS:
        try:
            limit = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue  # no such limit, or "max"
        total = min(total, limit)
    return total


def free_vram_bytes() -> int | None:
    """Free memory of the card now (`detect` remembers the first look); None without a card."""
    card = _card()
    return card[2] if card else None


def disk_free(path: Path) -> int:
    """Bytes that may still be written on the disk of `path`, which need not exist yet."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def require_room(path: Path, needed_bytes: int, what: str = "This") -> None:
    """Raises a DiskFullError with the numbers where less than `needed_bytes` is free."""
    free = disk_free(path)
    if free < needed_bytes:
        raise DiskFullError(
            f"{what} needs {human_bytes(needed_bytes)} on the disk of {path}, and {human_bytes(free)} is free.",
            f"Free {human_bytes(needed_bytes - free)} there, or keep the project on another disk.",
        )


def human_bytes(size: int) -> str:
    """'512 B', '20 MB', '3.4 GB' (powers of ten, as disks are sold)."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable: GB ends the loop")


def _card() -> tuple[str, int, int, str] | None:
    """(name, bytes, free bytes, driver) of the card that torch would take first."""
    program = shutil.which("nvidia-smi") or (str(WSL_SMI) if WSL_SMI.exists() else None)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if program is None or visible in ("", "-1"):
        return None
    query = [program, "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits"]
    first = (visible or "").split(",")[0].strip()
    if first:
        query.append(f"--id={first}")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=SMI_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return _parse_smi(answer.stdout)


def _parse_smi(answer: str) -> tuple[str, int, int, str] | None:
    """The first card of nvidia-smi's answer; None where it says '[N/A]' or an error."""
    for line in answer.splitlines():
        cells = [cell.strip() for cell in line.rsplit(",", 3)]
        if len(cells) == 4 and cells[1].isdecimal() and cells[2].isdecimal():
            return cells[0], int(cells[1]) * 2**20, int(cells[2]) * 2**20, cells[3]
    return None


def _processor() -> str:
    """The processor's name, as its maker writes it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "CPU"
