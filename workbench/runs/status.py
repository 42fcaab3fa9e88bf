"""How a run is, in words: from who works on it (`process.json`) and the end of its event log. Never writes."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Literal

from workbench.events import Failed, Finished
from workbench.job import JobKind
from workbench.paths import RunPaths
from workbench.runs import claim, process
from workbench.runs.claim import Claim
from workbench.runs.glance import Glance, glance

State = Literal["queued", "starting", "running", "stopping", "finished", "stopped", "failed", "died"]

ALIVE: tuple[State, ...] = ("queued", "starting", "running", "stopping")
GLYPHS: dict[State, str] = {
    "queued": "…",
    "starting": "◌",
    "running": "▶",
    "stopping": "◧",
    "finished": "✓",
    "stopped": "■",
    "failed": "✗",
    "died": "†",
}

RESUME = "resume"
"""Stands for the hint that says what resuming would do."""

LATE_FACTOR = 8
"""A step that takes so many times the usual is worth a word; a measurement or a save in between takes a few."""
LATE_SECONDS = 15.0
"""And never before so many seconds."""


@dataclass(frozen=True)
class Status:
    """A run's state, one sentence about it, and what can be done."""

    state: State
    sentence: str
    hint: str = ""
    step: int = 0
    total_steps: int = 0

    @property
    def alive(self) -> bool:
        """Whether a worker is on it."""
        return self.state in ALIVE

    @property
    def glyph(self) -> str:
        return GLYPHS[self.state]


RESUMED: dict[JobKind, str] = {
    "train": "begins again: no checkpoint was saved yet",
    "sample": "goes on with the completions that are missing",
    "score": "goes on with the completions that are not scored yet",
    "export": "exports again",
}
"""What a resume does where there is no checkpoint to go on from."""


def read(paths: RunPaths, kind: JobKind = "train") -> Status:
    """The status of the run in a folder. What its job does decides only what the hint promises."""
    found = claim.read(paths)
    living = claim.living(paths, found)
    seen = glance(paths.events, found.offset)
    # A dying worker writes its last event before it goes: looking at the log after the process cannot miss it.
    state, sentence, hint = _living(paths, found, seen) if living else _ended(paths, found, seen)
    hint = _resume_hint(paths, kind) if hint == RESUME else hint
    return Status(state, sentence, hint, seen.step, seen.total_steps)


def _living(paths: RunPaths, found: Claim, seen: Glance) -> tuple[State, str, str]:
    """State, sentence and hint while there is a worker."""
    if seen.ending is not None:
        return _by_ending(seen)
    if paths.stop_request.exists():
        return "stopping", f"Stopping after {_where(seen)}.", ""
    if not seen.began:
        if seen.behind is not None:
            return "queued", f"Waiting for the card, which {seen.behind or 'another run'} holds.", ""
        return "starting", _doing(seen.phase or "starting"), ""
    if found.trouble:
        return "running", f"At {_where(seen)}; its events are not being written: {found.trouble}", "Free disk space."
    if found.identity is not None and process.is_paused(found.identity):
        silent = _silence(seen) or "it does nothing"
        return "running", f"Paused by a signal: {silent}.", f"kill -CONT {found.identity.pid} lets it go on."
    if silent := _silence(seen):
        return "running", f"{silent[0].upper()}{silent[1:]}.", "It still runs; its log says more."
    if seen.phase and not seen.step:
        return "running", _doing(seen.phase), ""
    doing = f": {seen.phase}" if seen.phase else ""
    return "running", f"{_where(seen).capitalize()}{doing}.", ""


def _ended(paths: RunPaths, found: Claim, seen: Glance) -> tuple[State, str, str]:
    """State, sentence and hint where no worker is left."""
    if seen.ending is not None:
        return _by_ending(seen)
    if found.ending:
        return "failed", found.ending, f"Free disk space, then: workbench resume {paths.id}"
    if found.identity is None:
        return "stopped", "Not started yet.", f"workbench resume {paths.id} starts it."
    if paths.stop_request.exists():
        return "stopped", f"Ended at {_where(seen)} while it was being stopped.", RESUME
    return "died", f"Died at {_where(seen)}: {_cause(paths, found, seen)}.", RESUME


def _by_ending(seen: Glance) -> tuple[State, str, str]:
    if isinstance(seen.ending, Finished):
        return "finished", f"Finished at {_where(seen)}.", ""
    if isinstance(seen.ending, Failed):
        return "failed", seen.ending.message or f"It ended in an error ({seen.ending.kind}).", seen.ending.hint
    return "stopped", f"Stopped at {_where(seen)}.", RESUME


def _doing(phase: str) -> str:
    return f"{phase[0].upper()}{phase[1:]}…"


def _where(seen: Glance) -> str:
    return f"step {seen.step} of {seen.total_steps}" if seen.total_steps else f"step {seen.step}"


def _resume_hint(paths: RunPaths, kind: JobKind) -> str:
    """What resuming would do, truthfully."""
    kept = any(entry.name.startswith("step-") for entry in _entries(paths) if "." not in entry.name)
    what = "goes on from the last checkpoint" if kept else RESUMED[kind]
    return f"workbench resume {paths.id} {what}."


def _entries(paths: RunPaths) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(paths.checkpoints) as found:
            return list(found)
    except OSError:
        return []


def _silence(seen: Glance) -> str:
    """'no step for 40 s (usually 2.1 s)' when that is so, else nothing. A clock set back says nothing."""
    if not seen.last_step_t or not seen.step_seconds or seen.phase:
        return ""
    idle = time.time() - seen.last_step_t
    if idle < max(LATE_SECONDS, LATE_FACTOR * seen.step_seconds):
        return ""
    return f"no step for {_seconds(idle)} (usually {_seconds(seen.step_seconds)})"


def _seconds(seconds: float) -> str:
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _cause(paths: RunPaths, found: Claim, seen: Glance) -> str:
    """Why a worker is gone without a word, from what can be known."""
    identity = found.identity
    if identity is not None and identity.boot != process.boot_id():
        return "the machine was restarted while it ran"
    code = process.exit_status(identity) if identity is not None else None
    if code is not None and code >= 0:
        return f"its process ended by itself with status {code}{last_words(paths)}"
    if code is not None and -code != signal.SIGKILL:
        return f"its process crashed ({_signal_name(-code)}){last_words(paths)}"
    gone = "killed (signal 9)" if code is not None else "its process was killed or crashed"
    now = process.out_of_memory_kills()
    if now is None or found.oom_kills is None:
        return f"{gone}, probably out of memory{_memory(seen)}"
    if now > found.oom_kills:
        return f"{gone}, most likely because memory ran out{_memory(seen)}"
    return f"{gone}; the kernel has not reported running out of memory{_memory(seen)}"


def _memory(seen: Glance) -> str:
    if seen.alive is None or not seen.alive.memory_bytes:
        return ""
    return f" (it last used {seen.alive.memory_bytes / 2**30:.1f} GiB)"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"


def last_words(paths: RunPaths) -> str:
    """The last line of the log, if there is one."""
    try:
        with paths.log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return f'; its log ends with "{said[-1][:200]}"' if said else ""
