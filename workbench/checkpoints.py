"""Checkpoints that are whole or absent: written aside, synced, listed with their hashes, then renamed into place.

A folder `step-000120` is a checkpoint only if its MANIFEST.json verifies. What ends in `.partial` was never finished.
The order (write, fsync, manifest, fsync, rename, fsync of the folder, and only then deleting older ones) is what makes
a kill or a power cut at any moment harmless: ALICE (Pillai et al., OSDI 2014).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import CheckpointError

MANIFEST = "MANIFEST.json"
FORMAT = 1
PARTIAL = ".partial"
REPLACED = ".replaced"
_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose files are all there with the right content."""

    path: Path
    step: int
    size_bytes: int
    facts: dict[str, Any] = field(default_factory=dict)
    """What the worker wrote into the manifest: step, versions, data hash, and whatever else it needs to go on."""
    skipped: tuple[str, ...] = ()
    """Newer folders that do not verify, each with the reason in words."""


def begin(final: Path) -> Path:
    """An empty folder to write the checkpoint `final` into; a leftover of a killed worker is removed."""
    partial = final.with_name(final.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    return partial


def publish(partial: Path, final: Path, facts: dict[str, Any]) -> Path:
    """Makes a finished folder durable and gives it its name; whoever looks sees all of it or nothing."""
    files = {}
    for path in _files(partial):
        path.chmod(0o600)
        files[path.relative_to(partial).as_posix()] = _describe(path, durable=True)
    manifest = json.dumps({"format": FORMAT, "facts": facts, "files": files}, indent=1, sort_keys=True)
    _write_synced(partial / MANIFEST, manifest.encode())
    for folder in (*(entry for entry in partial.rglob("*") if entry.is_dir()), partial):
        sync(folder)
    replaced = final.with_name(final.name + REPLACED)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    partial.rename(final)
    sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return final


def verify(path: Path) -> Checkpoint:
    """The checkpoint in a folder; a CheckpointError saying what is wrong with it."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = manifest["files"]
        facts = dict(manifest["facts"])
        expected = {str(name): (int(row["size"]), str(row["sha256"])) for name, row in files.items()}
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} has no manifest.", "It was not finished; an older one is used.") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"The manifest of {path.name} is damaged ({type(error).__name__}).") from None
    for name, (size, sha256) in expected.items():
        _verify_file(path, name, size, sha256)
    return Checkpoint(path, _step_of(path), sum(size for size, _ in expected.values()), facts)


def _verify_file(folder: Path, name: str, size: int, sha256: str) -> None:
    path = folder / name
    if ".." in Path(name).parts or Path(name).is_absolute() or path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{name} of {folder.name} is missing.")
    found = path.stat().st_size
    if found != size:
        raise CheckpointError(f"{name} of {folder.name} has {found} bytes instead of {size}.")
    if _describe(path)["sha256"] != sha256:
        raise CheckpointError(f"{name} of {folder.name} is damaged: its content has changed.")


def newest_valid(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, with what was skipped; None where there are none at all.

    Where there are some and none verifies, a CheckpointError says why: starting over silently would lose the run.
    """
    skipped: list[str] = []
    for path in reversed(_published(folder)):
        try:
            found = verify(path)
        except CheckpointError as error:
            skipped.append(error.message)
            continue
        return Checkpoint(found.path, found.step, found.size_bytes, found.facts, tuple(skipped))
    if skipped:
        raise CheckpointError(
            f"No checkpoint can be used: {' '.join(skipped)}",
            f"Remove the folder {folder.name} of the run to begin it again at step 0, or start a new run.",
        )
    return None


def sweep(folder: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints, and what was never finished. Call it after `publish`."""
    for path in _published(folder)[: -max(1, keep)]:
        doomed = path.with_name(path.name + PARTIAL)
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)  # half a deletion must not look like a damaged checkpoint
        shutil.rmtree(doomed, ignore_errors=True)
    sweep_partial(folder)


def sweep_partial(folder: Path) -> int:
    """Deletes our own unfinished folders; how many bytes that freed."""
    freed = 0
    for path in folder.glob("*" + PARTIAL) if folder.is_dir() else ():
        freed += sum(file.stat().st_size for file in _files(path))
        shutil.rmtree(path, ignore_errors=True)
    return freed


def _published(folder: Path) -> list[Path]:
    """Folders with a checkpoint's name, oldest first. A replacement that was cut short is undone first."""
    if not folder.is_dir():
        return []
    for path in folder.glob("step-*" + REPLACED):
        original = path.with_name(path.name.removesuffix(REPLACED))
        if not original.exists():
            path.rename(original)
    return sorted((path for path in folder.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()), key=_step_of)


def _step_of(path: Path) -> int:
    found = _STEP.match(path.name)
    return int(found[1]) if found else 0


def _files(folder: Path) -> list[Path]:
    """The folder's regular files, the manifest left out."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != MANIFEST
    )


def _describe(path: Path, *, durable: bool = False) -> dict[str, Any]:
    """Size and hash of a file, which is on the disk afterwards if `durable`."""
    with path.open("rb") as file:
        if durable:
            os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"size": file.tell(), "sha256": digest}


def _write_synced(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Makes a folder with all its files durable."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync(path)
        elif path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync(folder)
