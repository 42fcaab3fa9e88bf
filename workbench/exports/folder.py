"""The folder an export is delivered in: parts are written beside their final names and published once verified.

`export.json` says what lies there, with hashes, lineage and the figures of every check.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import workbench
from workbench.errors import DiskFullError, ExportError
from workbench.exports.plan import free_bytes, megabytes

RECORD = "export.json"
PARTIAL = ".partial"
UNVERIFIED = ".unverified"
"""What failed a check keeps its bytes under this ending: it can be looked into and is never loaded by mistake."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Delivery:
    """One export folder on disk."""

    root: Path
    facts: dict[str, Any] = field(default_factory=dict)
    """What is true of every part: run, base, lineage, template hash."""

    def partial(self, name: str) -> Path:
        """Where `name` is written until it is verified; a leftover of an earlier try is removed."""
        self.root.mkdir(parents=True, exist_ok=True)
        path, old, final = self.root / f"{name}{PARTIAL}", self.root / f"{name}.old", self.root / name
        if old.exists() and not final.exists():  # killed between the two renames of `publish`
            old.rename(final)
        remove(path)
        return path

    def publish(self, name: str, facts: dict[str, Any]) -> Path:
        """Gives a verified part its final name, in one step for a file, and writes it down."""
        written, final = self.root / f"{name}{PARTIAL}", self.root / name
        hashes = hashes_of(written)
        sync(written)
        old = self.root / f"{name}.old"
        remove(old)
        if final.is_dir():
            final.rename(old)
        written.replace(final)
        sync_folder(self.root)
        remove(old)
        remove(self.root / f"{name}{UNVERIFIED}")
        self.note(name, {**facts, "verified": True, "files": hashes, "created": time.time()})
        return final

    def reject(self, name: str, facts: dict[str, Any]) -> Path:
        """Keeps a part that failed its checks under a name that nothing loads."""
        kept = self.root / f"{name}{UNVERIFIED}"
        remove(kept)
        (self.root / f"{name}{PARTIAL}").replace(kept)
        self.note(kept.name, {**facts, "verified": False, "created": time.time()})
        return kept

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Adds one part to `export.json`, keeping what earlier exports wrote there."""
        record = self.record()
        parts = record.get("parts", {})
        parts = {part: row for part, row in parts.items() if (self.root / part).exists()}
        row = {**self.facts, "format": 1, "workbench": workbench.__version__, "parts": {**parts, name: facts}}
        self.write_text(RECORD, json.dumps(row, indent=1, ensure_ascii=False))

    def record(self) -> dict[str, Any]:
        """What `export.json` says; empty where there is none yet or it cannot be read."""
        try:
            row = json.loads((self.root / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return row if isinstance(row, dict) else {}

    def write_text(self, name: str, text: str) -> None:
        """Writes a small file so that it is either the old or the new one, whatever happens."""
        path = self.root / f"{name}{PARTIAL}"
        path.write_text(text, encoding="utf-8")
        sync(path)
        path.replace(self.root / name)


@contextlib.contextmanager
def disk_errors(folder: Path, what: str) -> Iterator[None]:
    """Turns a full disk into a DiskFullError, and any other failure of the disk into an ExportError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full_disk(folder, what) from None
        raise ExportError(
            f"{what} could not be written ({error.strerror or error}).", "Check the folder and its permissions."
        ) from None


def full_disk(folder: Path, what: str) -> DiskFullError:
    return DiskFullError(
        f"The disk filled up while {what} was written; {megabytes(free_bytes(folder))} are free.",
        "Nothing was left half done: free some room and export again.",
    )


@contextlib.contextmanager
def removed_on_failure(*paths: Path) -> Iterator[None]:
    """Removes what a failed or stopped export has begun to write."""
    try:
        yield
    except BaseException:
        for path in paths:
            remove(path)
        raise


def remove(path: Path) -> None:
    """Removes a file or folder of ours, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def files_in(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in files_in(path))


def hashes_of(path: Path) -> dict[str, dict[str, Any]]:
    """Name, size and SHA-256 of every file of a part."""
    rows = {}
    for file in files_in(path):
        name = path.name.removesuffix(PARTIAL) if file == path else file.relative_to(path).as_posix()
        with file.open("rb") as opened:
            sha = hashlib.file_digest(opened, "sha256").hexdigest()
        rows[name] = {"size": file.stat().st_size, "sha256": sha}
    return rows


def sync(path: Path) -> None:
    """Puts every file of a part on the disk itself."""
    for file in files_in(path):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if path.is_dir():
        sync_folder(path)


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
