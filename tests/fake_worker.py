"""FakeWorker: plays a worker's part in a run folder by writing recorded events, so readers are tested whole."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench import events
from workbench.events import Event
from workbench.job import BaseRef, Job
from workbench.paths import ProjectPaths, RunPaths
from workbench.runs import Run, Runs, claim

_numbers = itertools.count(1)


def make_job(**changes: Any) -> Job:
    """A small training job; any field can be changed."""
    fields: dict[str, Any] = {
        "run": "",
        "kind": "train",
        "action": "sft",
        "base": BaseRef("bundled", "tiny"),
        "settings": {"micro_batch": 1, "max_length": 64},
        **changes,
    }
    return Job(**fields)


def make_run(root: Path, job: Job | None = None, data: Mapping[str, Iterable[dict[str, Any]]] | None = None) -> Run:
    """A created run in the project at `root`, not launched."""
    return Runs(ProjectPaths(root)).create(job or make_job(), data or {"train": [{"n": 1}]})


class FakeWorker:
    """This test's process as the worker of a run. `die` makes it look killed; the log is written as a worker would."""

    def __init__(self, run: Run | RunPaths) -> None:
        self.paths = run.paths if isinstance(run, Run) else run

    def sign_in(self) -> FakeWorker:
        """The run has a living worker from now on: this very process."""
        self._sign_out()
        claim.take(self.paths)
        return self

    def write(self, *new: Event) -> FakeWorker:
        """Appends events."""
        return self.write_bytes(b"".join(events.encode(event) for event in new))

    def write_bytes(self, data: bytes) -> FakeWorker:
        """Appends anything: torn lines, other programs' output, noise."""
        with self.paths.events.open("ab") as log:
            log.write(data)
        return self

    def replay(self, recorded: Path) -> FakeWorker:
        """Appends a recorded log."""
        return self.write_bytes(recorded.read_bytes())

    def die(self) -> FakeWorker:
        """The worker is gone without a word."""
        self._change(pid=2**22 + next(_numbers))  # above the greatest pid there is
        return self

    def leave(self, ending: Event) -> FakeWorker:
        """Writes the ending and goes."""
        self.write(ending)
        return self.die()

    def _sign_out(self) -> None:
        if self.paths.process.exists() and claim.worker(self.paths) is not None:
            self.die()

    def _change(self, **fields: Any) -> None:
        row = json.loads(self.paths.process.read_text(encoding="utf-8"))
        row.update(fields)
        text = json.dumps(row).ljust(claim.FILE_BYTES - 1) + "\n"
        self.paths.process.write_text(text, encoding="utf-8")


def dead_pid() -> int:
    """The pid of a process that was here and is gone."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child
