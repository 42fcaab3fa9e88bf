"""A run as it stands: its events folded into a few numbers and series. Finished and live runs take the same path."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from workbench.blocks import StepBlock
from workbench.events import (
    Alive,
    Completed,
    Evaluated,
    Event,
    Exported,
    Failed,
    Finished,
    Metrics,
    Note,
    Phase,
    Planned,
    Queued,
    Saved,
    Started,
    Step,
    Stopped,
    Unreadable,
    Verified,
    Watched,
)
from workbench.runs import Run
from workbench.runs.status import Status
from workbench.series import Series
from workbench.tail import Tail

RECENT_STEPS = 64
"""Steps that speed and time left are judged by: a minute or two, so they follow a change without jumping."""
KEPT = 2_000
"""Notes, samples and unreadable lines kept at most; older ones stay in the log."""
POLL_BYTES = 64 << 20
"""Read by one `poll` at most, about 0.3 s of work: a screen that opens a huge log can draw in between."""
STATUS_SECONDS = 1.0
"""A status is read at least this often, so that a silent worker is noticed."""

T = TypeVar("T")


class Live:
    """The fold. Feeding a step twice (after a resume, or the whole log again) keeps every point once."""

    def __init__(self) -> None:
        self.phase = ""
        self.behind = ""
        """Who holds the card, while queued."""
        self.device = ""
        self.dtype = ""
        self.versions: dict[str, str] = {}
        self.resumed_from: int | None = None
        self.step = 0
        self.total_steps = 0
        self.examples = 0
        self.held_out = 0
        self.trainable_parameters = 0
        self.total_parameters = 0
        self.metrics: dict[str, Series] = {}
        self.speed = Series()
        """Tokens a second, by step."""
        self.evaluations: dict[str, Series] = {}
        self.memory_bytes = 0
        self.memory = Series()
        """Bytes in use, by step."""
        self.watched: list[Watched] = []
        self.notes: list[Note] = []
        self.saved: list[Saved] = []
        self.exported: list[Exported] = []
        self.verified: list[Verified] = []
        self.completed = 0
        self.last_alive: Alive | None = None
        self.ending: Finished | Stopped | Failed | None = None
        self.unreadable = 0
        self.unreadable_lines: list[Unreadable] = []
        self.last_event_t = 0.0
        self._seconds: deque[float] = deque(maxlen=RECENT_STEPS)
        self._tokens: deque[int] = deque(maxlen=RECENT_STEPS)
        self._completed: dict[int, int] = {}
        """Prompt id -> bits of the n that were completed."""

    def feed(self, events: Iterable[Event | StepBlock]) -> None:
        """Folds events in, in the order of the log."""
        for event in events:
            if isinstance(event, StepBlock):
                self._on_steps(event)
                continue
            if event.t > self.last_event_t:
                self.last_event_t = event.t
            fold = _FOLDS.get(type(event))
            if fold is not None:
                fold(self, event)

    @property
    def step_seconds(self) -> float:
        """The usual duration of a step lately (median); 0 while unknown."""
        return float(np.median(self._seconds)) if self._seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second over the recent steps; 0 while unknown."""
        seconds = sum(self._seconds)
        return sum(self._tokens) / seconds if seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Time left, from step durations alone, so a clock that jumps cannot make it negative; None while unknown."""
        if self.ending is not None or not self.total_steps or not self._seconds:
            return None
        return max(0, self.total_steps - self.step) * self.step_seconds

    def _on_queued(self, event: Queued) -> None:
        self._begin_life()
        self.behind = event.behind

    def _on_started(self, event: Started) -> None:
        self._begin_life()
        self.device, self.dtype, self.versions = event.device, event.dtype, event.versions
        self.resumed_from = event.resumed_from
        self._rewind(event.resumed_from)

    def _begin_life(self) -> None:
        self.behind = ""
        self.ending = None

    def _rewind(self, step: int | None) -> None:
        """Forgets what a killed worker did beyond the checkpoint, everything where there was none: it is done again."""
        self.step = min(self.step, step or 0)
        kept = -1 if step is None else step  # what was measured before the first step is measured again too
        for series in (*self.metrics.values(), *self.evaluations.values(), self.speed, self.memory):
            series.drop_after(kept)
        self.watched = [event for event in self.watched if event.step <= kept]
        self.saved = [event for event in self.saved if event.step <= kept]

    def _on_phase(self, event: Phase) -> None:
        self._begin_life()
        self.phase = event.name

    def _on_planned(self, event: Planned) -> None:
        self.total_steps, self.examples, self.held_out = event.total_steps, event.examples, event.held_out
        self.trainable_parameters, self.total_parameters = event.trainable_parameters, event.total_parameters

    def _on_step(self, event: Step) -> None:
        self.step = event.step
        _append(self.metrics, event.step, event.metrics)
        if event.seconds > 0:
            self._seconds.append(event.seconds)
            self._tokens.append(event.tokens)
            if event.tokens:
                self.speed.append(event.step, event.tokens / event.seconds)

    def _on_steps(self, block: StepBlock) -> None:
        """The same for a block: whole columns at once."""
        self.step = int(block.step[-1])
        self.last_event_t = max(self.last_event_t, float(block.t.max()))
        for name, values in block.metrics.items():
            self.metrics.setdefault(name, Series()).extend(block.step, values)
        timed = block.seconds > 0
        self._seconds.extend(block.seconds[timed][-RECENT_STEPS:].tolist())
        self._tokens.extend(block.tokens[timed][-RECENT_STEPS:].astype(int).tolist())
        counted = timed & (block.tokens > 0)
        self.speed.extend(block.step[counted], block.tokens[counted] / block.seconds[counted])

    def _on_evaluated(self, event: Evaluated) -> None:
        _append(self.evaluations, event.step, event.metrics)

    def _on_watched(self, event: Watched) -> None:
        _keep(self.watched, event, same=lambda other: other.step == event.step)

    def _on_completed(self, event: Completed) -> None:
        bits = self._completed.get(event.prompt_id, 0)
        bit = 1 << max(0, min(event.n, 1_000_000))
        if not bits & bit:
            self._completed[event.prompt_id] = bits | bit
            self.completed += 1

    def _on_alive(self, event: Alive) -> None:
        self.last_alive = event
        self.memory_bytes = event.memory_bytes
        self.memory.append(event.step, event.memory_bytes)

    def _on_saved(self, event: Saved) -> None:
        _keep(self.saved, event, same=lambda other: (other.step, other.final) == (event.step, event.final))

    def _on_note(self, event: Note) -> None:
        _keep(self.notes, event, same=lambda other: other == event)

    def _on_exported(self, event: Exported) -> None:
        _keep(self.exported, event, same=lambda other: (other.target, other.path) == (event.target, event.path))

    def _on_verified(self, event: Verified) -> None:
        _keep(self.verified, event, same=lambda other: (other.target, other.check) == (event.target, event.check))

    def _on_ending(self, event: Finished | Stopped | Failed) -> None:
        self.ending = event
        self.behind = self.phase = ""
        if isinstance(event, Finished | Stopped):
            self.step = max(self.step, event.step)

    def _on_unreadable(self, event: Unreadable) -> None:
        self.unreadable += 1
        self.unreadable_lines.append(event)
        del self.unreadable_lines[:-KEPT]


_FOLDS: dict[type[Event], Callable[[Live, Any], None]] = {
    Queued: Live._on_queued,
    Started: Live._on_started,
    Phase: Live._on_phase,
    Planned: Live._on_planned,
    Step: Live._on_step,
    Evaluated: Live._on_evaluated,
    Watched: Live._on_watched,
    Completed: Live._on_completed,
    Alive: Live._on_alive,
    Saved: Live._on_saved,
    Note: Live._on_note,
    Exported: Live._on_exported,
    Verified: Live._on_verified,
    Finished: Live._on_ending,
    Stopped: Live._on_ending,
    Failed: Live._on_ending,
    Unreadable: Live._on_unreadable,
}


def _append(series_by_name: dict[str, Series], step: int, metrics: Metrics) -> None:
    for name, value in metrics.items():
        series = series_by_name.get(name)
        if series is None:
            series = series_by_name[name] = Series()
        series.append(step, value)


def _keep(kept: list[T], event: T, *, same: Callable[[T], bool]) -> None:
    """Appends, or replaces the one that says the same; the oldest go when there are too many."""
    for place in range(len(kept) - 1, max(-1, len(kept) - RECENT_STEPS), -1):
        if same(kept[place]):
            kept[place] = event
            return
    kept.append(event)
    if len(kept) > 2 * KEPT:
        del kept[:-KEPT]


class Follower:
    """A run followed: what the live screen and `workbench watch` both look at."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.live = Live()
        self.trouble = ""
        """A sentence about the log itself, when it was cut, replaced or is gone."""
        self._tail = Tail(run.paths.events)
        self._status = run.status()
        self._status_read = time.monotonic()

    @property
    def status(self) -> Status:
        """The status as of the last `poll`."""
        return self._status

    @property
    def behind(self) -> bool:
        """Whether the log held more than one `poll` reads."""
        return self._tail.behind

    def poll(self) -> bool:
        """Takes in what is new; whether anything changed. Never waits."""
        blocks = self._tail.read_blocks(POLL_BYTES)
        changed = self._look_at_log() or bool(blocks)
        if self._tail.restarted:
            self.live = Live()
        self.live.feed(blocks)
        if changed or time.monotonic() - self._status_read >= STATUS_SECONDS:
            changed = self._read_status() or changed
        return changed

    def _look_at_log(self) -> bool:
        trouble = self.trouble
        if self._tail.restarted and self._tail.missing:
            trouble = "The run's event log was deleted; what it held is no longer shown."
        elif self._tail.restarted:
            trouble = "The run's event log was cut or replaced; it was read again from its start."
        changed = trouble != self.trouble
        self.trouble = trouble
        return changed

    def _read_status(self) -> bool:
        self._status_read = time.monotonic()
        before, self._status = self._status, self.run.status()
        return self._status != before
