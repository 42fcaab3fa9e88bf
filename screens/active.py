"""The run that is working now, as a row: what the status row of every screen shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import RunError
from workbench.hardware import human_bytes

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.job import Job
    from workbench.live import Follower
    from workbench.runs import Run

FIGURES: Mapping[str, Callable[[float], str]] = {
    "reward": "reward {:.4g}".format,  # before the loss, which says nothing of a run that learns from a reward
    "loss": "loss {:.4g}".format,
    "completions_per_second": "{:.3g} completions/s".format,
    "bytes_per_second": lambda value: f"{human_bytes(round(value))}/s",
}
"""The metric worth a place in one row, the first that the run has, in words."""


@dataclass(frozen=True)
class ActiveRun:
    """What one row says of a working run."""

    run_id: str
    kind: str
    title: str
    state: str
    glyph: str
    step: int = 0
    total_steps: int = 0
    figure: str = ""
    eta_seconds: float | None = None
    waiting: int = 0
    """Other runs that wait for the card."""


class ActiveRuns:
    """Follows every run that is alive; used from one thread at a time."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._followers: dict[str, Follower] = {}
        self._settled: dict[str, float] = {}
        self.ended: list[Run] = []
        """Runs that were alive at the look before and are not now."""

    def look(self) -> ActiveRun | None:
        """The run that works now, else the first that waits, else None. Reads only what has changed since."""
        self.ended = []
        for run_id in self._bench.runs.ids():
            if run_id not in self._followers and self._settled.get(run_id) != self._touched(run_id):
                self._consider(run_id)
        for run_id, follower in list(self._followers.items()):
            follower.poll()
            if not follower.status.alive:
                self.ended.append(follower.run)
                self._settle(run_id)
        return self._line()

    def _consider(self, run_id: str) -> None:
        from workbench.live import Follower

        try:
            run = self._bench.runs.get(run_id)
        except RunError:  # a damaged order: the list of runs shows it, and this look goes on
            self._settle(run_id)
            return
        if run.status().alive:
            self._followers[run_id] = Follower(run)
        else:
            self._settle(run_id)

    def _settle(self, run_id: str) -> None:
        self._followers.pop(run_id, None)
        self._settled[run_id] = self._touched(run_id)

    def _touched(self, run_id: str) -> float:
        paths = self._bench.paths.run(run_id)
        return sum(file.stat().st_mtime for file in (paths.process, paths.events) if file.exists())

    def _line(self) -> ActiveRun | None:
        ordered = sorted(self._followers.values(), key=lambda f: (f.status.state == "queued", f.run.id))
        return active_run(ordered[0], len(ordered) - 1) if ordered else None


def active_run(follower: Follower, waiting: int = 0) -> ActiveRun:
    """The row of one followed run."""
    status, live, job = follower.status, follower.live, follower.run.job
    return ActiveRun(
        run_id=follower.run.id,
        kind=job.kind,
        title=run_title(job),
        state=status.state,
        glyph=status.glyph,
        step=status.step,
        total_steps=status.total_steps,
        figure=_figure({name: series.last for name, series in live.metrics.items()}),
        eta_seconds=live.eta_seconds,
        waiting=waiting,
    )


def run_title(job: Job) -> str:
    """A run's number and what it does, in the person's words: a sampler's or an exporter's name says little."""
    does = {"train": job.action, "sample": "sampling", "score": "judging", "export": f"export {job.action}"}[job.kind]
    return f"{job.run} {does}" + (f" · {job.name}" if job.name else "")


def stopping_words(run: Run, again: str = "r") -> str:
    """What a stop asked for now will do, and the key that undoes it: ask before the stop, which changes the state."""
    if run.status().state == "queued":
        return f"Run {run.id} leaves the queue; {again} puts it back."
    kept = {
        "train": "it saves a checkpoint after this step and ends",
        "sample": "it ends after the present batch, and what is there is kept",
        "score": "it ends after the present batch, and what is there is kept",
        "export": "it ends after the present part",
    }[run.job.kind]
    return f"Asked run {run.id} to stop: {kept}."


def _figure(metrics: Mapping[str, float | None]) -> str:
    return next((words(value) for name, words in FIGURES.items() if (value := metrics.get(name)) is not None), "")
