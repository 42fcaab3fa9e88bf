"""Waiting for a run without a screen: what happened, in sentences, and how it ended.

It only reads what the worker writes; nothing here starts or stops anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from workbench import errors
from workbench.errors import RunError, WorkbenchError
from workbench.events import Failed, Metrics
from workbench.hardware import human_bytes
from workbench.live import Follower, Live
from workbench.runs import Run

POLL_SECONDS = 0.25
"""Four looks a second: quicker than a person reads, and 0.1 % of a core."""


def wait(run: Run, on_look: Callable[[Follower], None]) -> Follower:
    """Follows the run until it ends, calling `on_look` after every look."""
    follower = Follower(run)
    while True:
        follower.poll()
        on_look(follower)
        if follower.behind:
            continue  # a long log is read in parts
        if not follower.status.alive:
            follower.poll()  # what was written between the last look and the end
            on_look(follower)
            return follower
        time.sleep(POLL_SECONDS)


def ending_error(run: Run, follower: Follower) -> WorkbenchError | None:
    """What a run's bad ending amounts to, as the error it is; None when it finished."""
    status, ending = follower.status, follower.live.ending
    if status.state == "finished":
        return None
    if isinstance(ending, Failed):
        return _error_of(ending)(
            f"Run {run.id} failed: {ending.message or status.sentence}", ending.hint or status.hint
        )
    return RunError(f"Run {run.id}: {status.sentence}", status.hint)


def _error_of(ending: Failed) -> type[WorkbenchError]:
    """The class that the worker named; any other failure is a RunError."""
    named = {"disk_full": errors.DiskFullError, "out_of_memory": errors.MemoryFullError}.get(ending.kind)
    found = named or getattr(errors, ending.kind, None)
    known = isinstance(found, type) and issubclass(found, WorkbenchError) and found is not errors.FormatError
    return found if known and found is not None else RunError


class Narrator:
    """Turns a run's progress into sentences, each said once."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._told: dict[str, int] = {}
        self._evaluated_step: float = -1.0

    def news(self, follower: Follower) -> Iterator[str]:
        """What happened since the last call."""
        live = follower.live
        if self._is_new("behind", live.behind):
            yield f"waiting for the card: {live.behind}"
        if self._is_new("trouble", follower.trouble):
            yield follower.trouble
        if self._is_new("phase", live.phase):
            yield f"{live.phase}…"
        for note in self._new("notes", live.notes):
            yield f"{'Warning: ' if note.level == 'warning' else ''}{note.text}"
        yield from self._measurements(live)
        for saved in self._new("saved", live.saved):
            what = "model" if saved.final else f"checkpoint at step {saved.step}"
            yield f"saved the {what} in {saved.seconds:.1f} s"
        for exported in self._new("exported", live.exported):
            yield f"wrote {exported.target}: {exported.path}"
        for verified in self._new("verified", live.verified):
            yield f"{'✓' if verified.passed else '✗'} {verified.target} {verified.check}: {in_words(verified.figures)}"

    def _is_new(self, name: str, value: str) -> bool:
        """Whether there is something to say that was not said last."""
        changed = value != self._latest.get(name, "")
        self._latest[name] = value
        return changed and bool(value)

    def _new(self, name: str, events: Any) -> list[Any]:
        """Those of the list that were not told yet."""
        told = self._told.get(name, 0)
        self._told[name] = len(events)
        return list(events)[told:]

    def _measurements(self, live: Live) -> Iterator[str]:
        """The newest held-out measurement, if it is new."""
        step = max((float(series.x[-1]) for series in live.evaluations.values() if len(series.x)), default=-1.0)
        if step > self._evaluated_step:
            self._evaluated_step = step
            yield f"held out at step {step:.0f}: {in_words(last_values(live.evaluations))}"


def last_values(series_by_name: Any) -> Metrics:
    """The last value of every series; None where it was not finite."""
    return {name: _finite(series.y[-1]) for name, series in series_by_name.items() if len(series.y)}


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if number - number == 0 else None  # infinities and NaN differ from themselves


def in_words(metrics: Metrics) -> str:
    """Metrics as a person reads them: `loss 0.731, accuracy 0.94`."""
    return ", ".join(
        f"{name.replace('_', ' ')} {'–' if value is None else f'{value:.4g}'}" for name, value in metrics.items()
    )


GLANCED = ("loss", "accuracy", "completions_per_second")
"""Metrics worth a place beside a progress bar."""


def at_a_glance(live: Live) -> str:
    """The few figures that fit beside a progress bar."""
    shown = {name: value for name, value in last_values(live.metrics).items() if name in GLANCED}
    speed = f"{live.tokens_per_second:.0f} tokens/s" if live.tokens_per_second else _bytes_per_second(live)
    return " · ".join(part for part in (in_words(shown), speed) if part)


def _bytes_per_second(live: Live) -> str:
    """How far an export is, and how fast it writes."""
    found = last_values(live.metrics)
    done, total, speed = (found.get(name) for name in ("bytes", "bytes_total", "bytes_per_second"))
    if not (done and total and speed):
        return ""
    return f"{human_bytes(int(done))} of {human_bytes(int(total))}, {human_bytes(int(speed))}/s"
