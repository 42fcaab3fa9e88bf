"""What a method, sampler or export target gets to work with: its order, its folder, and ways to report and to stop."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable
from typing import Literal

from workbench import hardware
from workbench.events import (
    Completed,
    Evaluated,
    Event,
    Exported,
    Note,
    Phase,
    Planned,
    Saved,
    Scored,
    Started,
    Step,
    Verified,
    Watched,
)
from workbench.job import Job
from workbench.paths import RunPaths

LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets", "tokenizers")
WORK = (Planned, Step, Evaluated, Watched, Completed, Scored, Saved, Exported, Verified)
"""Events that only a started run writes."""


class StopRequested(Exception):  # noqa: N818  # a wish, not an error: the run ends as Stopped
    """Raised between steps when the person asked the run to stop."""


class RunContext:
    """One run being worked on. Safe to call from any thread."""

    def __init__(
        self,
        paths: RunPaths,
        job: Job,
        append: Callable[[Event], object],
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.paths = paths
        self.job = job
        self.step = 0
        self.last_saved_bytes = 0
        self._append = append
        self._asked_to_stop = asked_to_stop
        self._started = False
        self._last_progress = time.monotonic()

    def emit(self, event: Event) -> None:
        """Writes an event into the run's log. A `Step` also counts as progress."""
        if isinstance(event, Started):
            self._started = True
        elif isinstance(event, WORK) and not self._started:
            self.started()
        if isinstance(event, Step):
            self.progress(event.step)
        if isinstance(event, Saved):
            self.last_saved_bytes = event.size_bytes
        self._append(event)

    def started(self, device: str = "", dtype: str = "", resumed_from: int | None = None) -> None:
        """Says on what the run computes, with which versions, and from which step it goes on."""
        if resumed_from is not None:
            self.progress(resumed_from)
        machine = hardware.detect().summary
        self.emit(Started(device=device, dtype=dtype, versions=versions(), resumed_from=resumed_from, hardware=machine))

    def note(self, text: str, level: Literal["info", "warning"] = "info") -> None:
        """A sentence for the person."""
        self.emit(Note(text=text, level=level))

    def phase(self, name: str) -> None:
        """What the run is busy with now, in words."""
        self._last_progress = time.monotonic()
        self.emit(Phase(name=name))

    def progress(self, step: int) -> None:
        """Tells the heartbeat how far the run is."""
        self.step = step
        self._last_progress = time.monotonic()

    @property
    def since_progress_seconds(self) -> float:
        """How long ago the run last said that it got further."""
        return time.monotonic() - self._last_progress

    def stop_requested(self) -> bool:
        """Whether the person asked the run to stop. A few microseconds, so ask at every step."""
        return self._asked_to_stop() or self.paths.stop_request.exists()

    def check_stop(self) -> None:
        """Raises StopRequested if the person asked the run to stop."""
        if self.stop_requested():
            raise StopRequested


def versions() -> dict[str, str]:
    """The versions of what a run's outcome depends on, without importing any of it."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a run that needs it says so itself
    return found
