"""The schema's steps: the outcome is known to the letter, and a crash at any statement costs nothing."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from workbench import migrations
from workbench.store import Store

COLUMNS = {
    "completions": "id prompt_id text origin_id job n tokens finish created",
    "demonstrations": "id prompt_id text origin created undone tags",
    "doubts": "judge prompt_id place",
    "imports": "id path layout sha256 rows_ok rejected added created",
    "origins": "id origin",
    "project": "key value",
    "prompts": "id turns digest answer kind split import_id created completions fresh",
    "rankings": "id prompt_id judge shown tiers verdict unacceptable seed seconds created newest undone",
    "remarks": "id prompt_id kind shown text created undone",
    "scores": "judge completion_id score created",
}


def schema(db: sqlite3.Connection) -> dict[str, str]:
    tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    return {name: " ".join(row[1] for row in db.execute(f"PRAGMA table_info({name})")) for (name,) in tables}


def test_the_oldest_schema_becomes_this_one() -> None:
    """From an empty file all steps lead to exactly these tables and columns, and to their number as the version."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrations.migrate(db)

    assert schema(db) == COLUMNS
    assert migrations.version(db) == len(migrations.STEPS)


def test_migrating_again_changes_nothing() -> None:
    """A current file has no step left to take."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrations.migrate(db)
    before = db.execute("SELECT sql FROM sqlite_master").fetchall()
    migrations.migrate(db)

    assert before == db.execute("SELECT sql FROM sqlite_master").fetchall()


def statements_of_a_migration() -> int:
    db = sqlite3.connect(":memory:", isolation_level=None)
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    migrations.migrate(db)
    return len(seen)


def migrate_and_die(path: Path, at: int) -> int:
    """Migrates in a process that is gone at its `at`-th statement; its exit status."""
    pid = os.fork()
    if pid == 0:
        db = sqlite3.connect(path, isolation_level=None)
        seen: list[str] = []

        def count(statement: str) -> None:
            seen.append(statement)
            if len(seen) == at:
                os._exit(9)

        db.set_trace_callback(count)
        migrations.migrate(db)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_migration_cut_off_at_any_statement_is_finished_by_the_next(tmp_path: Path) -> None:
    """Whichever statement the process dies at: the file then opens, whole."""
    total = statements_of_a_migration()
    for at in range(1, total + 1):
        path = tmp_path / f"{at}.db"
        assert migrate_and_die(path, at) == 9
        store = Store(path)
        found = (schema(store._db), store._rows("PRAGMA integrity_check"), migrations.version(store._db))
        store.close()
        assert found == (COLUMNS, [("ok",)], len(migrations.STEPS))

    assert total > len(COLUMNS)


def test_a_step_that_fails_leaves_the_old_schema(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error in a later step takes all of that step back, and none of the votes."""
    path = tmp_path / "workbench.db"
    Store(path).close()

    def half(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE prompts ADD COLUMN colour TEXT")
        db.execute("SELECT no_such_function()")

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, half))
    with pytest.raises(sqlite3.OperationalError, match="no_such_function"):
        Store(path)
    monkeypatch.undo()
    store = Store(path)
    found = schema(store._db)
    store.close()

    assert found == COLUMNS


def test_two_processes_that_open_a_new_project_migrate_it_once(tmp_path: Path) -> None:
    """Both wait for each other and end with one schema."""
    path = tmp_path / "workbench.db"
    children = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            try:
                Store(path).close()
                os._exit(0)
            finally:
                os._exit(70)
        children.append(pid)

    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
    store = Store(path)
    found = schema(store._db)
    store.close()
    assert found == COLUMNS
