"""Who a process is, and whether it is still there: a pid alone is reused, so start time and boot id go with it.

Never used: file locks, which a forked child keeps holding after its parent was killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PROC = Path("/proc")
BOOT_ID = PROC / "sys" / "kernel" / "random" / "boot_id"


@dataclass(frozen=True)
class Identity:
    """A process for good: no later process on this machine has the same three values."""

    pid: int
    started: float
    """Clock ticks since boot where /proc says it, else Unix seconds: compared, never read as a time."""
    boot: str

    def to_row(self) -> dict[str, Any]:
        return {"pid": self.pid, "started": self.started, "boot": self.boot}


_children: dict[Identity, subprocess.Popen[bytes]] = {}
"""Workers started by this very process: their exit status can be known, a stranger's cannot."""
_children_lock = threading.Lock()


def from_row(row: dict[str, Any]) -> Identity | None:
    """The identity that a JSON row holds, or None where it holds none."""
    pid, started, boot = row.get("pid"), row.get("started"), row.get("boot")
    if not isinstance(pid, int) or not isinstance(started, int | float) or not isinstance(boot, str) or pid <= 0:
        return None
    return Identity(pid, float(started), boot)


@cache
def boot_id() -> str:
    """Names this boot of the machine; empty where the system does not say."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def identify(pid: int | None = None) -> Identity | None:
    """The identity of a running process (this one by default); None where there is none or only its corpse."""
    pid = os.getpid() if pid is None else pid
    found = _stat(pid)
    if found is None or found[0] in "ZX":
        return None
    return Identity(pid, found[1], boot_id())


def is_alive(identity: Identity | None) -> bool:
    """Whether exactly that process still runs. A zombie does not, a stopped (SIGSTOP) one does."""
    if identity is None or identity.boot != boot_id():
        return False
    with _children_lock:
        child = _children.get(identity)
    if child is not None:
        # Its parent waits for it: while threads of a crashed process still end, it looks like a zombie already.
        return child.poll() is None
    return identify(identity.pid) == identity


def is_paused(identity: Identity) -> bool:
    """Whether the process is stopped by a signal or a debugger."""
    found = _stat(identity.pid)
    return found is not None and found[0] in "Tt"


def _stat(pid: int) -> tuple[str, float] | None:
    """(state letter, start time) of a process."""
    if not BOOT_ID.exists():
        return _stat_elsewhere(pid)
    try:
        text = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command name is in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(b")") + 2 :].split()
    return fields[0].decode(), float(fields[19])


def _stat_elsewhere(pid: int) -> tuple[str, float] | None:
    """The same without /proc (macOS)."""
    import psutil

    try:
        process = psutil.Process(pid)
        letters = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_DEAD: "X", psutil.STATUS_STOPPED: "T"}
        return letters.get(process.status(), "S"), float(process.create_time())
    except psutil.Error:
        return None


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Remembers a child so that it is reaped and its exit status can be told."""
    identity = identify(child.pid)
    if identity is not None:
        with _children_lock:
            _children[identity] = child


def exit_status(identity: Identity) -> int | None:
    """The exit status of a child of ours that has ended (negative: its signal); None if unknown or still running."""
    with _children_lock:
        child = _children.get(identity)
    return child.poll() if child is not None else None


def kill_group(identity: Identity) -> None:
    """SIGKILL for the process and its own group (its loader children), if it is still that process."""
    if not is_alive(identity):
        return
    try:
        os.killpg(identity.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:
        os.kill(identity.pid, signal.SIGKILL)


def send(identity: Identity, number: signal.Signals) -> bool:
    """Sends a signal to exactly that process; False where it is gone."""
    if not is_alive(identity):
        return False
    try:
        os.kill(identity.pid, number)
    except ProcessLookupError:
        return False
    return True


def out_of_memory_kills() -> int | None:
    """How many processes the kernel has killed for memory since boot; None where it does not say."""
    try:
        for line in (PROC / "vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        return None
    return None
