"""The folder an export is delivered in: parts are written beside their final names and published once verified.

`export.json` says what lies there, with hashes, lineage and the figures of every check.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import workbench
from workbench.errors import DiskFullError, ExportError, InputError
from workbench.hardware import disk_free, human_bytes

RECORD = "export.json"
PARTIAL = ".partial"
OLD = ".old"
INODE = "inode"
UNVERIFIED = ".unverified"
"""What failed a check keeps its bytes under this ending: it can be looked into and is never loaded by mistake."""

_LEFTOVER = re.compile(
    r"(model-\w+\.gguf|base-f16\.gguf|adapter\.gguf|importance\.npz|merged|README\.md|Modelfile|export\.json)"
    rf"({re.escape(PARTIAL)}|{re.escape(OLD)})"
)
"""Names under which only a killed export leaves something; anything else in a folder is a person's."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Delivery:
    """One export folder on disk.

    A part's row is in `export.json` under its partial name before it gets its final one, with the inode it will keep,
    and is read as the final one's once that is there: so the row fits the bytes whenever the process is killed.
    """

    root: Path
    facts: dict[str, Any] = field(default_factory=dict)
    """What is true of every part: run, base, lineage, template hash."""

    def begin(self) -> None:
        """Removes what a killed export left half done; a folder that nothing comes to lie in is not left behind."""
        with disk_errors(self.root.parent, f"The folder {self.root.name}"):
            self.root.mkdir(parents=True, exist_ok=True)
        for left in leftovers(self.root):
            final = left.with_name(left.name.removesuffix(OLD))
            if left.name.endswith(OLD) and not final.exists():  # killed between the two renames of `_exchange`
                left.rename(final)
            else:
                remove(left)
        remove_empty(self.root)

    def partial(self, name: str) -> Path:
        """Where `name` is written until it is verified; a leftover of an earlier try is removed."""
        self.begin_part(name)
        return self.root / f"{name}{PARTIAL}"

    def begin_part(self, name: str) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        old, final = self.root / f"{name}{OLD}", self.root / name
        if old.exists() and not final.exists():
            old.rename(final)
        remove(self.root / f"{name}{PARTIAL}")

    def publish(self, name: str, facts: dict[str, Any]) -> Path:
        """Gives a verified part its final name, in one step, and writes it down."""
        written, final = self.root / f"{name}{PARTIAL}", self.root / name
        row = {**facts, "verified": True, "files": hashes_of(written), "created": time.time()}
        sync(written)
        self.note(written.name, {**row, INODE: written.stat().st_ino})
        _exchange(written, final)
        sync_folder(self.root)
        remove(self.root / f"{name}{UNVERIFIED}")
        self.note(name, row)
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
        parts = {part: row for part, row in record.get("parts", {}).items() if (self.root / part).exists()}
        chain = {**record.get("chain", {}), **self.facts.get("chain", {})}  # an adapter's export measures no f16
        row = {**self.facts, "chain": chain, "format": 1, "workbench": workbench.__version__}
        row["parts"] = {**parts, name: facts}
        self.write_text(RECORD, json.dumps(row, indent=1, ensure_ascii=False))

    def record(self) -> dict[str, Any]:
        """What `export.json` says; empty where there is none yet or it cannot be read."""
        return read_record(self.root / RECORD)

    def write_text(self, name: str, text: str) -> None:
        """Writes a small file so that it is either the old or the new one, whatever happens."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / f"{name}{PARTIAL}"
        path.write_text(text, encoding="utf-8")
        sync(path)
        path.replace(self.root / name)


def folder_for(out: str, run: str | None) -> Path:
    """The folder that a person names for an export of a run's model; an InputError where something else lies there."""
    folder = Path(out).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder.name} is a file, not a folder.", "Name a new folder with out.")
    foreign = folder.is_dir() and set(folder.iterdir()) - set(leftovers(folder))
    if foreign and not (folder / RECORD).is_file():
        raise InputError(f"The folder {folder.name} holds other files.", "Name a new or empty folder with out.")
    held = Delivery(folder).record()
    if held and held.get("run") != run:
        raise InputError(f"The folder {folder.name} holds an export of another model.", "Name a new folder with out.")
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        raise InputError(f"Nothing can be written into {standing}.", "Name a folder of your own with out.")
    return folder


def leftovers(folder: Path) -> list[Path]:
    """What killed exports left half done in a folder."""
    return sorted(path for path in folder.iterdir() if _LEFTOVER.fullmatch(path.name))


def read_record(path: Path) -> dict[str, Any]:
    """An `export.json`, its parts under the names they have now; empty where there is none or it cannot be read."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        parts = dict(row.get("parts", {}))
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    pending = {name: facts for name, facts in parts.items() if name.endswith(PARTIAL)}
    there = {name: facts for name, facts in parts.items() if name not in pending}
    for name, facts in pending.items():
        final = path.parent / name.removesuffix(PARTIAL)
        if final.exists() and final.stat().st_ino == facts.get(INODE):  # killed after it got its final name
            there[final.name] = {key: value for key, value in facts.items() if key != INODE}
    return {**row, "parts": there}


_EXCHANGE, _HERE = 2, -100


def _exchange(written: Path, final: Path) -> None:
    """Puts `written` in the place of `final`, which is then gone; a folder too in one step where the system can."""
    if not final.is_dir():
        written.replace(final)
        return
    swap = getattr(ctypes.CDLL(None), "renameat2", None)  # Linux with glibc 2.28
    if swap is not None and swap(_HERE, bytes(written), _HERE, bytes(final), _EXCHANGE) == 0:
        remove(written)
        return
    old = final.with_name(f"{final.name}{OLD}")
    remove(old)
    final.rename(old)
    written.replace(final)
    remove(old)


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
        f"The disk filled up while writing {what.removesuffix(PARTIAL)}; {human_bytes(disk_free(folder))} are free.",
        "Nothing was left half done: free some room and export again.",
    )


@contextlib.contextmanager
def removed_on_failure(*paths: Path) -> Iterator[None]:
    """Removes what a failed or stopped export has begun to write, and its folder if that held nothing else."""
    try:
        yield
    except BaseException:
        for path in paths:
            remove(path)
            remove_empty(path.parent)
        raise


def remove_empty(folder: Path) -> None:
    """Removes a folder of ours that holds nothing."""
    with contextlib.suppress(OSError):  # it holds something, or is not there
        folder.rmdir()


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
