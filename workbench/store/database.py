"""The connection to a project's SQLite file: its safety settings, transactions, and errors in a person's words.

Rollback journal, never WAL: two processes on one WAL file can corrupt it before SQLite 3.51.3, and this Python
ships an older one. A call returns after its commit is on the disk.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench import migrations
from workbench.errors import CorruptStoreError, DiskFullError, NewerStoreError, ProjectError, WorkbenchError
from workbench.records import Counts

BUSY_TIMEOUT_MS = 5_000
SQLITE_VERSION = sqlite3.sqlite_version


class Database:
    """One open project file. Safe to call from any thread: calls take turns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with _told(path):
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise
        _make_private(path)

    def _open(self) -> None:
        db = self._db
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA trusted_schema = OFF")
        # in this order: another process may be making the tables, and sets the version in the same transaction
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        found = migrations.version(db)
        if found > len(migrations.STEPS):
            raise NewerStoreError(
                f"{self.path.name} was made by a newer workbench (schema {found}, "
                f"this one knows {len(migrations.STEPS)}).",
                "Update the workbench; the file is unchanged.",
            )
        if found == 0 and tables:
            raise CorruptStoreError(
                f"{self.path} is another program's database.", "It was left untouched. Start a new project elsewhere."
            )
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = EXTRA")
        db.execute("PRAGMA foreign_keys = ON")
        db.create_function("holds", 2, _holds, deterministic=True)
        db.create_function("says", 2, _says, deterministic=True)
        migrations.migrate(db)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed and on the disk when it ends, rolled back when anything in it fails."""
        with self._lock, _told(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _told(self.path):
            return self._db.execute(sql, values).fetchall()

    # -- the project's own facts

    def get(self, key: str, default: str = "") -> str:
        """A fact of the project, such as its base: `get("base")`."""
        rows = self._rows("SELECT value FROM project WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else default

    def put(self, key: str, value: str) -> None:
        with self._write() as db:
            db.execute(
                "INSERT INTO project VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (storable(key), storable(value)),
            )

    def counts(self) -> Counts:
        """How much of everything there is: index scans, 30 ms at a million completions."""
        return Counts(
            *self._rows(
                "SELECT count(*) FILTER (WHERE split = 'train'), count(*) FILTER (WHERE split != 'train'),"
                " (SELECT count(*) FROM demonstrations INDEXED BY standing_demonstrations WHERE undone IS NULL)"
                " - (SELECT count(*) FROM prompts held CROSS JOIN demonstrations d INDEXED BY standing_demonstrations"
                " ON d.prompt_id = held.id AND d.undone IS NULL WHERE held.split != 'train'),"
                " coalesce(sum(completions), 0),"
                " (SELECT count(*) FROM rankings INDEXED BY rankings_by_judge"
                " WHERE undone IS NULL AND verdict != 'skip' AND judge NOT GLOB 'reward:*'),"
                " count(*) FILTER (WHERE completions > 1 AND split = 'train'),"
                " count(*) FILTER (WHERE fresh > 1 AND split = 'train') FROM prompts"
            )[0]
        )

    def backup(self, path: Path) -> None:
        """A consistent copy of the file, while others go on writing to it."""
        with self._lock, _told(path), contextlib.closing(sqlite3.connect(path)) as copy:
            _make_private(path)
            self._db.backup(copy)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's errors in a person's words. The file is left as it is."""
    try:
        yield
    except sqlite3.Error as error:
        told = _in_words(path, str(error), getattr(error, "sqlite_errorname", ""))
        if told is None:
            raise
        raise told from None


def _in_words(path: Path, text: str, code: str) -> WorkbenchError | None:
    """The error for SQLite's code and message; None for what only a bug of ours can cause."""
    if code in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):  # the second also where a limit on file sizes is reached
        return DiskFullError(f"Not saved: the disk that holds {path.name} is full.", "Free some space and do it again.")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ProjectError("Not saved: another workbench is writing to this project.", "Try again in a moment.")
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PERM")):
        return ProjectError(
            f"Not saved: {path} cannot be opened or written ({text}).",
            "Check that the folder is still there and that you may write to it.",
        )
    damaged = code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
    if damaged or text.startswith(("no such table", "no such column", "Could not decode")):
        return CorruptStoreError(
            f"{path} is not a readable project file ({text}).",
            "It was left untouched. Restore it from a backup, or start a new project.",
        )
    return None


def _make_private(path: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else's file can still be looked at
        path.chmod(0o600)


def from_json(text: str) -> Any:
    """A stored JSON value; a CorruptStoreError where the disk has garbled it."""
    try:
        return json.loads(text)
    except ValueError:
        raise CorruptStoreError(
            "A row of the project file is damaged.",
            "The file was left untouched. Restore it from a backup, or start a new project.",
        ) from None


def _holds(text: str, wanted: str) -> bool:
    """SQL's `holds(text, wanted)`: whether the text contains it, in any case, in any script."""
    return wanted.casefold() in text.casefold()


def _says(turns: str, wanted: str) -> bool:
    """SQL's `says(turns, wanted)`: whether a stored conversation contains it in what is said, not in role names."""
    folded = wanted.casefold()
    written = json.dumps(folded, ensure_ascii=False)[1:-1]
    if written not in turns.casefold():  # ten times quicker than parsing, and most rows end here
        return False
    return any(folded in turn["content"].casefold() for turn in from_json(turns))


def storable(text: str) -> str:
    """SQLite stores UTF-8, which has no lone surrogates: a model's half character becomes a replacement mark."""
    return text.encode("utf-8", "replace").decode()
