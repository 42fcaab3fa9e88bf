"""`process.json`: who works on a run, and what it could not write into its event log any more.

The file is as long as it will ever be from its first day, and is overwritten in place: the last words of a worker on
a full disk need no new block.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from typing import Any

from workbench.errors import RunError
from workbench.paths import RunPaths
from workbench.runs import process
from workbench.runs.process import Identity

FILE_BYTES = 4096
"""One block of the disk."""
LONGEST_TEXT = 600


@dataclass(frozen=True)
class Claim:
    """What the file says."""

    job_digest: str = ""
    """The order as it was made: a changed one is not resumed."""
    identity: Identity | None = None
    """The worker, present or last; None before the first launch."""
    inode: int = 0
    """The run folder's: a copy of the folder is not being worked on."""
    launched: float = 0.0
    offset: int = 0
    """Bytes the event log had when this worker began: what lies before belongs to earlier ones."""
    lives: int = 0
    oom_kills: int | None = None
    """The kernel's count of processes killed for memory when this worker began."""
    ending_kind: str = ""
    ending: str = ""
    """Last words that did not fit on the disk, else empty."""
    trouble: str = ""
    """Why events are not being written, while they are not."""


def create(paths: RunPaths, job_digest: str) -> None:
    """The file of a new run that nobody works on yet."""
    handle = os.open(paths.process, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _write(handle, {"job": job_digest})
    finally:
        os.close(handle)


def read(paths: RunPaths) -> Claim:
    """The claim on a run; an empty one where there is no file or it cannot be read."""
    try:
        return _claim(_row(paths.process.read_bytes()))
    except OSError:
        return Claim()


def worker(paths: RunPaths) -> Identity | None:
    """The living process that works on this very folder, or None."""
    return living(paths, read(paths))


def take(paths: RunPaths) -> Claim:
    """Makes this process the run's worker; a RunError where another one lives."""
    handle = os.open(paths.process, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # The lock covers reading and writing only; who holds the run is said by the content.
        fcntl.flock(handle, fcntl.LOCK_EX)
        row = _row(os.pread(handle, FILE_BYTES, 0))
        before = _claim(row)
        if (other := living(paths, before)) is not None and other.pid != os.getpid():
            raise RunError(
                f"Run {paths.id} is being worked on already (process {other.pid}).", "Stop it first, or wait for it."
            )
        identity = process.identify()
        row = {
            "job": before.job_digest,
            **(identity.to_row() if identity is not None else {}),
            "inode": paths.root.stat().st_ino,
            "launched": time.time(),
            "offset": paths.events.stat().st_size if paths.events.exists() else 0,
            "lives": before.lives + 1,
            "oom_kills": process.out_of_memory_kills(),
        }
        _write(handle, row)
        return _claim(row)
    finally:
        os.close(handle)


def add(paths: RunPaths, **texts: str) -> bool:
    """Sets `trouble`, `ending` or `ending_kind`; False where not even that could be written."""
    try:
        handle = os.open(paths.process, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        row = _row(os.pread(handle, FILE_BYTES, 0))
        row.update({name: text[:LONGEST_TEXT] for name, text in texts.items()})
        _write(handle, row)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def living(paths: RunPaths, found: Claim) -> Identity | None:
    try:
        here = paths.root.stat().st_ino
    except OSError:
        return None
    return found.identity if found.inode == here and process.is_alive(found.identity) else None


def _write(handle: int, row: dict[str, Any]) -> None:
    text = json.dumps(row).encode()
    os.pwrite(handle, text.ljust(FILE_BYTES - 1) + b"\n", 0)
    os.ftruncate(handle, FILE_BYTES)
    os.fsync(handle)


def _row(text: bytes) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _claim(row: dict[str, Any]) -> Claim:
    """A claim from a file that may be older, newer or damaged: what is not of its kind counts as absent."""

    def value(name: str, kind: type, default: Any) -> Any:
        found = row.get(name)
        return found if isinstance(found, kind) and not isinstance(found, bool) else default

    return Claim(
        job_digest=value("job", str, ""),
        identity=process.from_row(row),
        inode=value("inode", int, 0),
        launched=float(value("launched", int | float, 0.0)),  # type: ignore[arg-type]  # isinstance takes a union
        offset=value("offset", int, 0),
        lives=value("lives", int, 0),
        oom_kills=value("oom_kills", int, None),
        ending_kind=value("ending_kind", str, ""),
        ending=value("ending", str, ""),
        trouble=value("trouble", str, ""),
    )
