"""The rows of the list of runs: state, progress and the figures worth a column, read only where something changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from workbench.charts.plot import sparkline
from workbench.job import Job
from workbench.live import Follower, Live
from workbench.runs import Run
from workbench.runs.status import Status

SPARK_CELLS = 16
NOTES_KEPT = 6


@dataclass(frozen=True)
class Figures:
    """What a run's events amount to in a row of the list."""

    loss: float | None = None
    """The last one; None for a run that has none, as sampling and exports, or whose loss says nothing, as PPO's."""
    held_out: float | None = None
    eta_seconds: float | None = None
    spark: str = ""
    """The loss, or the reward of a run that learns from one."""
    notes: tuple[str, ...] = ()
    device: str = ""
    trainable_parameters: int = 0
    checkpoints: tuple[int, ...] = ()
    size_bytes: int = 0


@dataclass(frozen=True)
class RunRow:
    """One run in the list."""

    run: Run
    job: Job
    status: Status
    figures: Figures = field(default_factory=Figures)

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def does(self) -> str:
        """What the run does, in a word or two, with its name."""
        return f"{self.job.does} · {self.job.name}" if self.job.name else self.job.does

    @property
    def text(self) -> str:
        """What the filter searches."""
        source = self.job.parent or self.job.base.name
        return f"{self.id} {self.status.state} {self.job.kind} {self.does} {source}"


class RunTable:
    """Keeps what it has read. Used from one thread at a time; the first look at a long log takes its time."""

    def __init__(self) -> None:
        self._followers: dict[str, Follower] = {}
        self._known: dict[str, tuple[tuple[int, int], Figures]] = {}

    def quick(self, runs: Sequence[Run]) -> list[RunRow]:
        """Rows with the figures known so far, newest first: a few kilobytes a run."""
        rows = [RunRow(run, run.job, run.status(), self._figures(run)) for run in runs]
        return rows[::-1]

    def full(self, runs: Sequence[Run]) -> list[RunRow]:
        """Rows with all figures, newest first; logs that did not change are not read again."""
        for run in runs:
            self._read(run)
        return self.quick(runs)

    def _figures(self, run: Run) -> Figures:
        known = self._known.get(run.id)
        return known[1] if known else Figures()

    def _read(self, run: Run) -> None:
        stamp = _stamp(run)
        known = self._known.get(run.id)
        if known and known[0] == stamp:
            return
        follower = self._followers.pop(run.id, None) or Follower(run)
        follower.poll()
        while follower.behind:
            follower.poll()
        if follower.status.alive:  # one that is done is read once more when its log changes, which is rare
            self._followers[run.id] = follower
        self._known[run.id] = (stamp, figures_of(follower.live))


def _stamp(run: Run) -> tuple[int, int]:
    """Changes with the log."""
    try:
        stat = run.paths.events.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def figures_of(live: Live) -> Figures:
    """A fold in the few figures of a row."""
    loss, reward = live.metrics.get("loss"), live.metrics.get("reward")
    held_out = live.evaluations.get("loss")
    drawn = reward if reward is not None else loss
    return Figures(
        loss=loss.last if loss is not None and reward is None else None,
        held_out=held_out.last if held_out is not None else None,
        eta_seconds=live.eta_seconds,
        spark=sparkline(drawn.y if drawn is not None else np.zeros(0), SPARK_CELLS),
        notes=tuple(note.text for note in live.notes[-NOTES_KEPT:]),
        device=" ".join(word for word in (live.device, live.dtype) if word),
        trainable_parameters=live.trainable_parameters,
        checkpoints=tuple(saved.step for saved in live.saved if not saved.final),
        size_bytes=max((saved.size_bytes for saved in live.saved), default=0),
    )


def differences(one: Job, other: Job) -> list[tuple[str, str, str]]:
    """(what, here, there) of everything in which two orders differ, for the person who asks why one did better."""
    rows = [
        ("method", one.action, other.action),
        ("base", one.base.name, other.base.name),
        ("preset", one.preset, other.preset),
        ("starts from", one.parent or one.base.name, other.parent or other.base.name),
        *((name, _count(one, name), _count(other, name)) for name in dict.fromkeys((*one.counts, *other.counts))),
        *((n, _setting(one, n), _setting(other, n)) for n in dict.fromkeys((*one.settings, *other.settings))),
    ]
    return [row for row in rows if row[1] != row[2]]


def _count(job: Job, name: str) -> str:
    return f"{job.counts[name]:,}" if name in job.counts else "–"


def _setting(job: Job, name: str) -> str:
    value = job.settings.get(name)
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
