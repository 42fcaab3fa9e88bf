"""The Bench: one project's store, runs and machine, opened once and handed to whoever works on it.

It decides nothing about training or screens; `orders` turns a person's choices into runs. What the first paint does
not need is imported when it is first asked for.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import paths
from workbench.errors import CorruptStoreError, ProjectError
from workbench.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.events import Event
    from workbench.hardware import Hardware
    from workbench.records import Origin
    from workbench.runs import Run, Runs
    from workbench.tail import Tail

RECENT_KEPT = 20
"""Projects remembered for Home."""


def _in_use(folder: Path) -> bool:
    """Whether something is there already, so that no project can be made of it."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


class Bench:
    """An open project. `store` may be called from any thread."""

    def __init__(self, project: paths.ProjectPaths) -> None:
        self.paths = project
        self.store = Store(project.store)
        self._tails: dict[str, Tail] = {}
        self._ingesting = threading.Lock()

    @classmethod
    def open(cls, root: Path) -> Bench:
        """The project in a folder; a ProjectError where there is none."""
        project = paths.ProjectPaths(root.resolve())
        if not project.store.is_file():
            new = f"Make one: workbench new {shlex.quote(str(root))}"
            hint = "Name a project's folder, or make one: workbench new DIR" if _in_use(root) else new
            raise ProjectError(f"{root} is not a workbench project.", hint)
        if project.store.stat().st_size == 0:  # SQLite takes an empty file for a new database
            raise CorruptStoreError(
                f"{project.store.name} in {root} is empty: what the project held is not in it any more.",
                "It was left untouched. Restore it from a backup, or start a new project.",
            )
        bench = cls(project)
        _remember(project.root)
        return bench

    @classmethod
    def create(cls, root: Path, *, demo: bool = False) -> Bench:
        """A new project in a folder that does not exist or is empty; with `demo` its data comes along."""
        if _in_use(root):
            raise ProjectError(f"{root} is there already and not empty.", "Choose a new folder; nothing was changed.")
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            project = paths.ProjectPaths(root.resolve())
            for folder in (project.runs, project.exports):
                folder.mkdir(mode=0o700)
        except OSError as error:
            raise ProjectError(
                f"{root} cannot be made ({error.strerror}).", "Choose a folder you may write to."
            ) from None
        bench = cls(project)
        bench.base = "bundled"
        if demo:
            bench.import_demo()
        _remember(project.root)
        return bench

    def close(self) -> None:
        self.store.close()

    def import_demo(self) -> None:
        """The bundled demonstrations, prompts to sample and held-out questions."""
        from workbench import importing  # late: only a new demo project needs it

        importing.import_file(self.store, paths.DEMO_DATA / "demonstrations.jsonl")
        importing.import_file(self.store, paths.DEMO_DATA / "prompts.jsonl")
        importing.import_file(self.store, paths.DEMO_DATA / "held_out.jsonl", split="held_out")

    @property
    def name(self) -> str:
        return self.paths.root.name

    @property
    def base(self) -> str:
        """The project's base model, as a person names it: 'bundled', a folder, or a hub id."""
        return self.store.get("base", "bundled")

    @base.setter
    def base(self, spec: str) -> None:
        self.store.put("base", spec)

    @cached_property
    def runs(self) -> Runs:
        """The project's runs."""
        from workbench.runs import Runs

        return Runs(self.paths)

    @cached_property
    def hardware(self) -> Hardware:
        """The machine, looked at once."""
        from workbench import hardware

        return hardware.detect()

    def ingest(self) -> int:
        """Stores what sampling and scoring runs have produced since the last call; how many completions were new.

        Safe to call from any thread: a look at long logs may still be under way when the next one begins.
        """
        with self._ingesting:
            return sum(self._ingest(run) for run in self.runs.all() if run.job.kind in ("sample", "score"))

    def _ingest(self, run: Run) -> int:
        """Reads a run's events on from where this process stopped; logs fully stored before are not read again."""
        key = f"ingested {run.id}"
        try:
            size = run.paths.events.stat().st_size
        except OSError:
            return 0
        if str(size) == self.store.get(key):
            return 0
        from workbench.tail import Tail  # late: it brings numpy, 0.15 s before the first paint

        tail = self._tails.pop(run.id, None) or Tail(run.paths.events)
        added = self._take_in(run, tail.read())
        self.store.put(key, str(size))
        self._tails[run.id] = tail  # kept only now: what could not be stored has to be read again
        return added

    def _take_in(self, run: Run, events: Sequence[Event]) -> int:
        """Stores completions, or scores and, once all are there, the rankings that they amount to."""
        from workbench.events import Completed, Finished, Scored

        if run.job.kind == "sample":
            completed = [event for event in events if isinstance(event, Completed)]
            return self.store.add_completions(run.id, origin_of(run), completed) if completed else 0
        from workbench import judging

        scores = [score for event in events if isinstance(event, Scored) for score in event.scores]
        if scores:
            judging.take_in(self.store, run.job, scores)
        if any(isinstance(event, Finished) for event in events):
            judging.finish(self.store, run.job)
        return 0


def origin_of(run: Run) -> Origin:
    """Where a sampling run's completions come from."""
    from workbench.records import Origin

    job = run.job
    known = {field.name for field in dataclasses.fields(Origin)}
    settings = {name: value for name, value in job.settings.items() if name in known}
    return Origin(base=job.base.name, run=job.parent, checkpoint=job.checkpoint, sampler=job.action, **settings)  # type: ignore[arg-type]  # values were parsed by the sampler's fields


def recent_projects() -> list[Path]:
    """Projects opened before, newest first, that are still there."""
    try:
        rows = json.loads(paths.recent_projects_file().read_text(encoding="utf-8"))
        found = [Path(row["path"]) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # a convenience: a damaged list is an empty one
    return [path for path in found if (path / paths.STORE_NAME).is_file()]


def _remember(root: Path) -> None:
    others = [path for path in recent_projects() if path != root]
    rows = [{"path": str(path), "opened": time.time()} for path in [root, *others][:RECENT_KEPT]]
    file = paths.recent_projects_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(rows), encoding="utf-8")
        partial.replace(file)
    except OSError:
        return  # a home that cannot be written costs the list of recent projects and nothing else
