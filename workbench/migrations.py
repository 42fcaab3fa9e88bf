"""The store's schema, as numbered steps. A new step is one function at the end; shipped ones are never edited.

Each step runs in a transaction of its own together with the new `user_version`, so that a crash at any statement
leaves either the old schema or the new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


def _first(db: sqlite3.Connection) -> None:
    """Prompts, demonstrations, completions, rankings, remarks and imports."""
    fresh = (  # `newest` is the newest completion that there was when the person decided
        "(SELECT count(*) FROM completions c WHERE c.prompt_id = NEW.prompt_id AND c.id >"
        " coalesce((SELECT max(r.newest) FROM rankings r WHERE r.prompt_id = NEW.prompt_id"
        " AND r.judge = 'person' AND r.undone IS NULL), 0))"
    )
    for statement in (
        "CREATE TABLE project (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE imports (id INTEGER PRIMARY KEY, path TEXT NOT NULL, layout TEXT NOT NULL,"
        " sha256 TEXT NOT NULL UNIQUE, rows_ok INTEGER NOT NULL, rejected TEXT NOT NULL, added TEXT NOT NULL,"
        " created REAL NOT NULL)",
        # `completions`, and `fresh` (those that came since a person last decided on the prompt, skips too), are kept by
        # the triggers below: counting took 0.6 s at a million completions, finding the next prompt to rank 1.3 s
        "CREATE TABLE prompts (id INTEGER PRIMARY KEY, turns TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, answer TEXT,"
        " kind TEXT NOT NULL DEFAULT '', split TEXT NOT NULL DEFAULT 'train', import_id INTEGER REFERENCES imports,"
        " created REAL NOT NULL, completions INTEGER NOT NULL DEFAULT 0, fresh INTEGER NOT NULL DEFAULT 0)",
        "CREATE INDEX prompts_by_completions ON prompts (completions, split, fresh)",
        "CREATE INDEX prompts_by_import ON prompts (import_id) WHERE import_id IS NOT NULL",
        "CREATE INDEX rankable_prompts ON prompts (digest) WHERE split = 'train' AND completions > 1",
        "CREATE INDEX waiting_prompts ON prompts (digest) WHERE split = 'train' AND fresh > 1",
        "CREATE TABLE demonstrations (id INTEGER PRIMARY KEY, prompt_id INTEGER NOT NULL REFERENCES prompts,"
        " text TEXT NOT NULL, origin TEXT NOT NULL, created REAL NOT NULL, undone REAL, UNIQUE (prompt_id, text))",
        "CREATE INDEX standing_demonstrations ON demonstrations (prompt_id, undone) WHERE undone IS NULL",
        "CREATE TABLE origins (id INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE)",
        # `job`, `prompt_id`, `n`: the natural key that makes ingesting a run's events twice harmless
        "CREATE TABLE completions (id INTEGER PRIMARY KEY, prompt_id INTEGER NOT NULL REFERENCES prompts,"
        " text TEXT NOT NULL, origin_id INTEGER NOT NULL REFERENCES origins, job TEXT NOT NULL, n INTEGER NOT NULL,"
        " tokens INTEGER NOT NULL, finish TEXT NOT NULL, created REAL NOT NULL, UNIQUE (prompt_id, job, n))",
        "CREATE TRIGGER completion_added AFTER INSERT ON completions BEGIN"
        " UPDATE prompts SET completions = completions + 1, fresh = fresh + 1 WHERE id = NEW.prompt_id; END",
        # a ranking is never deleted: undoing it stamps `undone`
        "CREATE TABLE rankings (id INTEGER PRIMARY KEY, prompt_id INTEGER NOT NULL REFERENCES prompts,"
        " judge TEXT NOT NULL, shown TEXT NOT NULL, tiers TEXT NOT NULL, verdict TEXT NOT NULL,"
        " unacceptable TEXT NOT NULL, seed INTEGER NOT NULL, seconds REAL NOT NULL, created REAL NOT NULL,"
        " newest INTEGER NOT NULL, undone REAL)",
        "CREATE INDEX rankings_by_prompt ON rankings (prompt_id, judge, newest) WHERE undone IS NULL",
        "CREATE INDEX rankings_by_judge ON rankings (judge, prompt_id, verdict, undone) WHERE undone IS NULL",
        "CREATE TRIGGER vote_added AFTER INSERT ON rankings WHEN NEW.judge = 'person' AND NEW.undone IS NULL BEGIN"
        f" UPDATE prompts SET fresh = {fresh} WHERE id = NEW.prompt_id; END",
        "CREATE TRIGGER vote_undone AFTER UPDATE OF undone ON rankings WHEN NEW.judge = 'person' BEGIN"
        f" UPDATE prompts SET fresh = {fresh} WHERE id = NEW.prompt_id; END",
        # flags and notes, on a prompt's shown completions, with or without a vote
        "CREATE TABLE remarks (id INTEGER PRIMARY KEY, prompt_id INTEGER NOT NULL REFERENCES prompts,"
        " kind TEXT NOT NULL, shown TEXT NOT NULL, text TEXT NOT NULL, created REAL NOT NULL, undone REAL)",
        "CREATE INDEX remarks_by_prompt ON remarks (prompt_id) WHERE undone IS NULL",
    ):
        db.execute(statement)


def _tags(db: sqlite3.Connection) -> None:
    """What is known of a demonstration by name, as JSON: its quality, topic, source."""
    db.execute("ALTER TABLE demonstrations ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'")


def _scores(db: sqlite3.Connection) -> None:
    """Reward models' scores of completions, and the ranking queue in the order of their doubt."""
    for statement in (
        "CREATE TABLE scores (judge TEXT NOT NULL, completion_id INTEGER NOT NULL REFERENCES completions,"
        " score REAL NOT NULL, created REAL NOT NULL, PRIMARY KEY (judge, completion_id)) WITHOUT ROWID",
        # `place` sorts prompts by the distance of their best two scores, so that the next is one step in an index
        "CREATE TABLE doubts (judge TEXT NOT NULL, prompt_id INTEGER NOT NULL REFERENCES prompts,"
        " place TEXT NOT NULL, PRIMARY KEY (judge, prompt_id)) WITHOUT ROWID",
        "CREATE INDEX doubts_by_place ON doubts (judge, place)",
    ):
        db.execute(statement)


STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first, _tags, _scores)
"""In order; the schema's version is how many have been taken."""


def version(db: sqlite3.Connection) -> int:
    """How many steps the database has taken."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection) -> None:
    """Takes the steps that the database lacks. `db` is in autocommit mode."""
    for number in range(version(db), len(STEPS)):
        db.execute("BEGIN IMMEDIATE")
        try:
            if version(db) == number:  # another process may have migrated while we waited for the lock
                STEPS[number](db)
                db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
