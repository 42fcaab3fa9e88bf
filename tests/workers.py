"""Launching rehearsing workers, waiting for them, and reading what they wrote."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fake_worker import make_job
from workbench.events import TERMINAL, Event
from workbench.paths import ProjectPaths
from workbench.runs import Run, Runs, claim, process
from workbench.tail import Tail

TRAIN = {"act": "train", "steps": 40, "seconds": 0.002, "save_every": 4}
PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def rehearsing(root: Path) -> Iterator[Runs]:
    """The runs of a project whose workers rehearse; none is left behind."""
    made = Runs(ProjectPaths(root), worker="tests.rehearsal")
    yield made
    for run in made.all():
        if (worker := claim.worker(run.paths)) is not None:
            process.kill_group(worker)


def make(runs: Runs, **settings: bool | int | float | str) -> Run:
    return runs.create(make_job(settings={**TRAIN, **settings}), {"train": [{"n": 1}]})


def until(condition: Callable[[], object], what: str = "", seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain {what}"
        time.sleep(0.005)


def done(run: Run) -> Run:
    """Waits until the run's worker is gone."""
    until(lambda: claim.worker(run.paths) is None, f"for the end of {run.id}: {run.status()}")
    return run


def launched(runs: Runs, **settings: bool | int | float | str) -> Run:
    run = make(runs, **settings)
    runs.launch(run)
    return run


def told(run: Run) -> list[Event]:
    return Tail(run.paths.events).read()


def endings(run: Run) -> list[Event]:
    return [event for event in told(run) if isinstance(event, TERMINAL)]


def reached(run: Run, step: int) -> Callable[[], bool]:
    return lambda: run.status().step >= step
