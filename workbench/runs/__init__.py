"""The runs of a project: made, launched, stopped, resumed, deleted. The folder is the list; nothing else keeps one."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench import checkpoints
from workbench.errors import DiskFullError, ProjectError, RunError
from workbench.job import Job, JobKind, read_job
from workbench.paths import PACKAGE_ROOT, ProjectPaths, RunPaths
from workbench.runs import claim, process, status
from workbench.runs.lineage import descendants
from workbench.runs.status import Status

__all__ = ["Run", "Runs", "Status", "check_unchanged", "worker_environment"]

RUN_ID = re.compile(r"\d{4,}")
HIGHEST_ID = ".highest"
"""Remembers the id of a deleted run: completions in the store are named by it, so it is not given again."""
_GONE = re.compile(r"\.gone-(\d{4,})\.partial")
"""A run's folder while it is deleted, and on a full disk, where nothing can be written, what remembers its id after."""
START_SECONDS = 20.0
"""How long a launched worker may take to sign in; 0.1 s is usual."""
STOP_NOW_SECONDS = 2.0

_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|WORKBENCH_HOME|XDG_CACHE_HOME|XDG_DATA_HOME|HF_HOME|HF_HUB_CACHE"
    r"|LD_LIBRARY_PATH|(CUDA|CUBLAS|NVIDIA|PYTORCH|ROCM|HIP|HSA|BNB)_\w+|(OMP|MKL|OPENBLAS)_NUM_THREADS|TRITON_CACHE_DIR"
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|_KEY", re.IGNORECASE)


@dataclass(frozen=True)
class Run:
    """One run: its folder and its order."""

    paths: RunPaths

    @property
    def id(self) -> str:
        return self.paths.id

    @cached_property
    def job(self) -> Job:
        """The order; a RunError where it cannot be read."""
        return read_job(self.paths.job)

    @property
    def title(self) -> str:
        return self.job.title

    def status(self) -> Status:
        """How it is now. Cheap: a few kilobytes are read."""
        try:
            return status.read(self.paths, self.job.kind)
        except RunError:  # a damaged order has a status too
            return status.read(self.paths)


class Runs:
    """All runs of one project. `worker` is the Python module that a run's folder is given to."""

    def __init__(self, project: ProjectPaths, worker: str = "workbench.worker") -> None:
        self.project = project
        self._worker = worker

    def ids(self) -> list[str]:
        """The ids there are, oldest first."""
        try:
            with os.scandir(self.project.runs) as entries:
                names = [entry.name for entry in entries if RUN_ID.fullmatch(entry.name)]
        except OSError:
            return []
        return sorted(names, key=int)

    def all(self, kind: JobKind | None = None) -> list[Run]:
        """Every run whose order can be read, oldest first, of one kind if asked."""
        found = []
        for run_id in self.ids():
            run = Run(self.project.run(run_id))
            with contextlib.suppress(RunError):  # one damaged folder must not hide the others
                if kind in (None, run.job.kind):
                    found.append(run)
        return found

    def get(self, name: str) -> Run:
        """The run called '3', '0003' or 'last'."""
        ids = self.ids()
        if not ids:
            raise RunError("This project has no runs yet.", "workbench train sft starts the first one.")
        wanted = ids[-1] if name == "last" else f"{int(name):04d}" if name.isdecimal() else name
        if wanted not in ids:
            raise RunError(
                f"There is no run {name!r}.", f"The newest are {', '.join(ids[-5:])}; workbench runs lists all."
            )
        run = Run(self.project.run(wanted))
        _ = run.job  # says now that the order is damaged, not later
        return run

    def create(
        self,
        job: Job,
        data: Mapping[str, Iterable[dict[str, Any]]],
        start: Path | None = None,
        rewards: Mapping[str, Path] | None = None,
    ) -> Run:
        """A new run with its frozen data; all of it appears at once.

        With it go copies of the adapter it starts from and of the reward models it learns from (by their runs' ids).
        """
        partial = RunPaths(self.project.runs / f".new-{os.getpid()}-{time.monotonic_ns()}.partial")
        try:
            with _disk_errors(self.project.runs):
                return self._make(partial, job, data, start, rewards or {})
        finally:
            shutil.rmtree(partial.root, ignore_errors=True)

    def _make(
        self,
        partial: RunPaths,
        job: Job,
        data: Mapping[str, Iterable[dict[str, Any]]],
        start: Path | None,
        rewards: Mapping[str, Path],
    ) -> Run:
        """Writes all of the run into `partial`, and gives it its name."""
        self.project.runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.data.mkdir(parents=True, mode=0o700)
        partial.root.chmod(0o700)
        hashes = {}
        for name, rows in data.items():
            file = name if name.endswith(".jsonl") else f"{name}.jsonl"
            hashes[file] = _write_rows(partial.data / file, rows)
        if start is not None:
            _copy_private(start, partial.start)
        for run_id, model in rewards.items():
            _copy_private(model, partial.reward(run_id))
        job = dataclasses.replace(job, data=hashes, created=job.created or time.time())
        return self._publish(partial, job)

    def _publish(self, partial: RunPaths, job: Job) -> Run:
        """Gives the folder the next id; another process may take one at the same moment, then the one after."""
        while True:
            run_id = f"{self._highest_id() + 1:04d}"
            numbered = dataclasses.replace(job, run=run_id)
            _write_private(partial.job, numbered.to_json().encode())
            claim.create(partial, numbered.digest())
            checkpoints.sync_tree(partial.root)
            paths = self.project.run(run_id)
            if not paths.root.exists():
                try:
                    partial.root.rename(paths.root)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
                        raise
                else:
                    checkpoints.sync(self.project.runs)
                    return Run(paths)
            if not partial.root.exists():
                raise RunError("The new run's folder has vanished.", "Is another program cleaning up the project?")

    def _highest_id(self) -> int:
        ids = [int(run_id) for run_id in self.ids()]
        if self.project.runs.is_dir():
            ids += [int(found[1]) for path in self.project.runs.iterdir() if (found := _GONE.fullmatch(path.name))]
        with contextlib.suppress(OSError, ValueError):  # there is no such file until something is deleted
            ids.append(int((self.project.runs / HIGHEST_ID).read_text(encoding="ascii")))
        return max(ids, default=0)

    def launch(self, run: Run) -> None:
        """Starts a worker that outlives this process, and returns once it has signed in (0.1 s)."""
        now = run.status()
        if now.state == "finished":
            raise RunError(f"Run {run.id} is finished: nothing left to do.", "A new run can start from it.")
        if now.alive:
            raise RunError(f"Run {run.id} is running already.", f"workbench watch {run.id} shows it.")
        with _disk_errors(run.paths.root):
            run.paths.stop_request.unlink(missing_ok=True)
        lives = claim.read(run.paths).lives
        child = _spawn(run.paths, self._worker)
        process.adopt(child)
        deadline = time.monotonic() + START_SECONDS
        while claim.read(run.paths).lives == lives:
            if child.poll() is not None:
                raise RunError(f"The worker of run {run.id} did not start{status.last_words(run.paths)}.", _LOOK)
            if time.monotonic() > deadline:
                raise RunError(f"The worker of run {run.id} has not signed in after {START_SECONDS:.0f} s.", _LOOK)
            time.sleep(0.01)

    def stop(self, run: Run, now: bool = False) -> None:
        """Asks the worker to stop after its step; `now` ends it at once, at the cost of what is not saved yet."""
        worker = claim.worker(run.paths)
        if worker is None or not run.status().alive:
            raise RunError(f"Run {run.id} is not running.", "There is nothing to stop.")
        try:
            run.paths.stop_request.touch(mode=0o600)
        except OSError:  # a full disk is a reason to stop; one signal asks for the same
            if not now:
                process.send(worker, signal.SIGTERM)
        if not now:
            return
        for _ in range(2):
            process.send(worker, signal.SIGTERM)
            process.send(worker, signal.SIGCONT)  # a paused process takes no other signal
            time.sleep(0.05)
        deadline = time.monotonic() + STOP_NOW_SECONDS
        while process.is_alive(worker) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill_group(worker)

    def resume(self, run: Run) -> None:
        """Goes on with a run from its newest valid checkpoint; a RunError where that would not be the same run."""
        check_unchanged(run.paths)
        self.launch(run)

    def delete(self, run: Run) -> None:
        """Deletes the run's folder with all it holds; never a running one, nor one that others started from."""
        if run.status().alive:
            raise RunError(f"Run {run.id} is running.", f"Stop it first: workbench stop {run.id}")
        children = descendants(run.id, (other.job for other in self.all()))
        if children:
            raise RunError(f"Run {run.id} is where {', '.join(children)} came from.", "Delete those first.")
        gone = self.project.runs / f".gone-{run.id}.partial"
        run.paths.root.rename(gone)
        for entry in gone.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk takes no note: then the empty folder is one
            note = self.project.runs / f"{HIGHEST_ID}.partial"
            _write_private(note, str(self._highest_id()).encode())
            note.rename(self.project.runs / HIGHEST_ID)
            gone.rmdir()


_LOOK = "Its worker.log says more; workbench doctor checks the installation."


def check_unchanged(paths: RunPaths) -> Job:
    """The job, if it and its frozen data are what they were when the run was made; else a RunError."""
    job = read_job(paths.job)
    recorded = claim.read(paths).job_digest
    if recorded and job.digest() != recorded:
        raise RunError(
            f"The order of run {paths.id} was changed after it was made.",
            "Start a new run with the changed settings; this one goes on only as it was ordered.",
        )
    for name, expected in job.data.items():
        file = paths.data / name
        if not file.is_file():
            raise RunError(f"The frozen data {name} of run {paths.id} is missing.", "Start a new run.")
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != expected:
            raise RunError(
                f"The frozen data {name} of run {paths.id} is not what the run was made with.",
                "Put the original file back, or start a new run.",
            )
    return job


def worker_environment() -> dict[str, str]:
    """What a worker sees of our environment: named variables only, never a token, and the hub switched off."""
    passed = {
        name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name) and not _SECRET.search(name)
    }
    return passed | {
        "PYTHONPATH": str(PACKAGE_ROOT),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",  # those are for the libraries' makers
        "TOKENIZERS_PARALLELISM": "false",  # it warns about forks in every log otherwise
    }


def _spawn(paths: RunPaths, module: str) -> subprocess.Popen[bytes]:
    """A worker in a session of its own: it has neither our terminal nor our pipes, so nothing of ours can end it."""
    with _disk_errors(paths.root):
        log = os.open(paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            # -P keeps a `random.py` in the folder from being imported in the library's place.
            [sys.executable, "-P", "-X", "utf8", "-m", module, str(paths.root.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=paths.root,
            env=worker_environment(),
            start_new_session=True,
            umask=0o077,
        )
    except OSError as error:
        raise RunError(f"The worker of run {paths.id} could not be started ({error.strerror}).", _LOOK) from None
    finally:
        os.close(log)


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses into a DiskFullError where it is full, else into a ProjectError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"Nothing was started: the disk that holds {folder} is full.", "Free some space and try again."
            ) from None
        raise ProjectError(
            f"{folder} cannot be written ({error.strerror or error}).", "Nothing was started; check its permissions."
        ) from None


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    """Writes JSON lines and returns their SHA-256."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for row in rows:
            line = _line(row)
            digest.update(line)
            file.write(line)
    return digest.hexdigest()


def _line(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate: escaped it is still the same text
        return json.dumps(row).encode() + b"\n"


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _copy_private(source: Path, target: Path) -> None:
    """A copy of a folder's regular files, readable by us alone; links are followed nowhere."""
    target.mkdir(mode=0o700, parents=True)
    for entry in sorted(source.rglob("*")):
        if entry.is_symlink() or not entry.is_file() or entry.name == checkpoints.MANIFEST:
            continue
        copy = target / entry.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(entry, copy)
        copy.chmod(0o600)
