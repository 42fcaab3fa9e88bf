"""The heartbeat: a thread that says every few seconds how far the run is, so that a deadlock does not look healthy."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from workbench.events import Alive
from workbench.worker.context import RunContext

BEAT_SECONDS = 5.0
"""17,000 lines a day of 120 bytes: 2 MB."""


class Heartbeat:
    """Beats while it is entered."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=BEAT_SECONDS)
        self._say(memory_bytes(resident_peak))  # also of a run too short for a beat: estimates learn from it

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self._say(memory_bytes())

    def _say(self, size: int) -> None:
        context = self._context
        context.emit(
            Alive(step=context.step, since_last_step_seconds=context.since_progress_seconds, memory_bytes=size)
        )


def memory_bytes(resident: Callable[[], int] | None = None) -> int:
    """The card's peak reservation if the run uses one, else this process's memory: resident now, or as asked."""
    # The module may be half imported by the main thread right now, hence the defaults.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    ready = getattr(cuda, "is_initialized", None)
    if cuda is not None and ready is not None and ready():
        return int(cuda.max_memory_reserved())
    return (resident or resident_bytes)()


def resident_peak() -> int:
    """The most memory that this process has had."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # not Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """This process's memory in use."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return resident_peak()
