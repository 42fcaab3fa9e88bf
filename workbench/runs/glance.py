"""The little that a run's status needs from its event log: its last few lines, and the plan near its start."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from workbench import events
from workbench.events import (
    Alive,
    Event,
    Failed,
    Finished,
    Note,
    Phase,
    Planned,
    Queued,
    Saved,
    Started,
    Step,
    Stopped,
    Unreadable,
)

FIRST_LOOK_BYTES = 16 << 10
LONGEST_LOOK_BYTES = 1 << 20
"""Beyond this the status goes without what it has not found: a list of runs must stay quick."""


@dataclass(frozen=True)
class Glance:
    """What the end of the log says of the present worker."""

    ending: Finished | Stopped | Failed | None = None
    began: bool = False
    """Whether it has gone past waiting and starting."""
    behind: str | None = None
    """Who holds the card, while it waits."""
    phase: str = ""
    """What it does now, if it said so after its last step."""
    step: int = 0
    total_steps: int = 0
    step_seconds: float = 0.0
    last_step_t: float = 0.0
    last_t: float = 0.0
    alive: Alive | None = None
    durations: tuple[float, ...] = field(default=(), repr=False)


def glance(path: Path, offset: int) -> Glance:
    """The state of the log at `path`, whose present worker began at byte `offset`."""
    try:
        stat = path.stat()
    except OSError:
        return Glance()
    # A log that is shorter than it was when its worker began was removed and begun anew: all of it is this worker's.
    offset = offset if offset <= stat.st_size else 0
    return _glance(path, stat.st_size, stat.st_mtime_ns, stat.st_ino, offset)


@lru_cache(maxsize=512)
def _glance(path: Path, size: int, _changed: int, _inode: int, offset: int) -> Glance:
    """The same, remembered while the file does not change."""
    look = FIRST_LOOK_BYTES
    while True:
        found = _look(path, size, look, offset)
        enough = found.ending is not None or (found.began and found.step and found.total_steps)
        if enough or look >= min(size, LONGEST_LOOK_BYTES):
            break
        look *= 8
    if not found.total_steps:
        found = replace(found, total_steps=_planned(path))
    return found


def _look(path: Path, size: int, look: int, offset: int) -> Glance:
    """Folds the last `look` bytes."""
    start = max(0, size - look)
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(size - start)
    if start:
        cut = data.find(b"\n") + 1
        start, data = start + cut, data[cut:]
    found = Glance()
    for line in data.split(b"\n")[:-1]:
        event = events.decode(line) if line else None
        if event is not None and not isinstance(event, Unreadable):
            found = _fold(found, event, present=start >= offset)
        start += len(line) + 1
    return replace(found, step_seconds=statistics.median(found.durations) if found.durations else 0.0)


def _fold(seen: Glance, event: Event, *, present: bool) -> Glance:
    """`seen` and one more event; of an earlier worker only the progress counts."""
    seen = replace(seen, last_t=max(seen.last_t, event.t))
    if isinstance(event, Step):
        durations = (*seen.durations, event.seconds)[-32:] if event.seconds > 0 else seen.durations
        return replace(
            seen, step=event.step, durations=durations, last_step_t=event.t, phase="", began=seen.began or present
        )
    if isinstance(event, Planned):
        seen = replace(seen, total_steps=event.total_steps)
    if isinstance(event, Alive):
        seen = replace(seen, alive=event)
    if isinstance(event, Saved | Finished | Stopped):
        seen = replace(seen, step=max(seen.step, event.step))
    if isinstance(event, Started):
        seen = replace(seen, step=event.resumed_from or 0)
    if not present:
        return seen
    if isinstance(event, Finished | Stopped | Failed):
        return replace(seen, ending=event)
    if isinstance(event, Queued):
        return replace(seen, behind=event.behind)
    if isinstance(event, Phase):
        return replace(seen, phase=event.name, behind=None)
    waiting = isinstance(event, Note) or (isinstance(event, Alive) and not event.step)
    return seen if waiting else replace(seen, began=True, behind=None)


def _planned(path: Path) -> int:
    """The number of steps from the log's first lines."""
    with path.open("rb") as file:
        data = file.read(4 * FIRST_LOOK_BYTES)
    for line in data.split(b"\n"):
        if line.startswith(b'{"type": "planned"') and isinstance(event := events.decode(line), Planned):
            return event.total_steps
    return 0
