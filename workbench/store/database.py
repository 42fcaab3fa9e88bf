"""The connection to a project's SQLite file: its safety settings, transactions, and errors in a person's words.

Rollback journal, never WAL: two processes on one WAL file can corrupt it before SQLite 3.51.3, and this Python
ships an older one. A call returns after its commit is on the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench import migrations
from workbench.errors import CorruptStoreError, DiskFullError, NewerStoreError, ProjectError
from workbench.records import Counts

BUSY_TIMEOUT_MS = 5_000


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
        path.chmod(0o600)

    def _open(self) -> None:
        db = self._db
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA trusted_schema = OFF")
        found = migrations.version(db)
        if found > len(migrations.STEPS):
            raise NewerStoreError(
                f"{self.path.name} was made by a newer workbench (schema {found}, "
                f"this one knows {len(migrations.STEPS)}).",
                "Update the workbench; the file is unchanged.",
            )
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = EXTRA")
        db.execute("PRAGMA foreign_keys = ON")
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
                "INSERT INTO project VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
            )

    def counts(self) -> Counts:
        """How much of everything there is (a handful of index scans: 20 ms at a million completions)."""
        one = self._rows(
            "SELECT (SELECT count(*) FROM prompts WHERE split = 'train'), (SELECT count(*) FROM prompts WHERE split != 'train'),"
            " (SELECT count(*) FROM demonstrations WHERE undone IS NULL), (SELECT count(*) FROM completions),"
            " (SELECT count(*) FROM rankings WHERE undone IS NULL AND verdict != 'skip'),"
            " (SELECT count(*) FROM (SELECT 1 FROM completions GROUP BY prompt_id HAVING count(*) > 1))"
        )[0]
        return Counts(*one)

    def backup(self, path: Path) -> None:
        """A consistent copy of the file, while others go on writing to it."""
        with self._lock, _told(path), contextlib.closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's errors in a person's words. The file is left as it is."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "full" in text:
            raise DiskFullError(
                f"Not saved: the disk that holds {path.name} is full.", "Free some space and do it again."
            ) from None
        if "locked" in text:
            raise ProjectError(
                "Not saved: another workbench is writing to this project.", "Try again in a moment."
            ) from None
        if "readonly" in text or "unable to open" in text or "disk I/O" in text:
            raise ProjectError(
                f"Not saved: {path} cannot be written ({text}).",
                "Check that the folder is still there and that you may write to it.",
            ) from None
        if isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise CorruptStoreError(
            f"{path} is not a readable project file ({text}).",
            "It was left untouched. Restore it from a backup, or start a new project.",
        ) from None
