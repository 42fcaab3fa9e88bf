"""Prompts, demonstrations, imports and completions. Text is stored as it came."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, ProjectError
from workbench.records import (
    Completion,
    Demonstration,
    ImportReport,
    NewPrompt,
    Origin,
    Prompt,
    Ranking,
    Split,
    Verdict,
    turns_to_json,
)
from workbench.store.database import Database, from_json, storable
from workbench.store.rankings import PROMPT, insert_ranking, prompt_of

if TYPE_CHECKING:
    from workbench.events import Completed

Tags = Sequence[tuple[str, str]]
"""(name, value) of what is known of a demonstration."""


ImportedRanking = tuple[int, tuple[str, ...], tuple[tuple[int, ...], ...], tuple[int, ...]]
"""(index of the prompt, answers, tiers of places among them, places of those bad in themselves)."""

PAIR = ((0,), (1,))
"""The tiers of a chosen and a rejected answer."""


class Texts(Database):
    """What goes into a model and what comes out of it."""

    # -- prompts and demonstrations

    def add_import(
        self,
        report: ImportReport,
        prompts: Sequence[NewPrompt],
        answers: Sequence[tuple[int, str] | tuple[int, str, Tags]] = (),
        preferences: Sequence[tuple[int, str, str]] = (),
        rankings: Sequence[ImportedRanking] = (),
    ) -> ImportReport:
        """A whole file in one transaction; the report with what was really new in `added`.

        `answers` are (index into `prompts`, text, tags) demonstrations, `preferences` (index, chosen, rejected),
        `rankings` (index, answers, tiers, bad ones). An InputError where the same file was imported before.
        """
        now = time.time()
        with self._write() as db:
            import_id = self._begin_import(db, report, now)
            ids = [self._prompt_id(db, prompt, now, import_id) for prompt in prompts]
            demonstrations = db.executemany(
                "INSERT INTO demonstrations (prompt_id, text, origin, created) VALUES (?, ?, 'import', ?)"
                " ON CONFLICT (prompt_id, text) DO UPDATE SET undone = NULL, origin = 'import'"
                " WHERE undone IS NOT NULL",
                ((ids[answer[0]], storable(answer[1]), now) for answer in answers),
            ).rowcount
            db.executemany(  # an answer that was there without tags gains them
                "UPDATE demonstrations SET tags = ? WHERE prompt_id = ? AND text = ? AND tags = '{}'",
                (
                    (storable(json.dumps(dict(answer[2]), ensure_ascii=False)), ids[answer[0]], storable(answer[1]))
                    for answer in answers
                    if len(answer) == 3 and answer[2]
                ),
            )
            judged = [(index, (chosen, rejected), PAIR, ()) for index, chosen, rejected in preferences]
            self._add_ballots(db, ids, [*judged, *rankings], f"import {import_id}", now)
            new_prompts = db.execute("SELECT count(*) FROM prompts WHERE import_id = ?", (import_id,)).fetchone()[0]
            counted = {"prompts": new_prompts, "demonstrations": demonstrations, "preferences": len(preferences)}
            counted["rankings"] = len(rankings)
            counted["tagged"] = sum(len(answer) == 3 and bool(answer[2]) for answer in answers)
            added = {name: count for name, count in counted.items() if count > 0}
            db.execute("UPDATE imports SET added = ? WHERE id = ?", (json.dumps(added), import_id))
        return dataclasses.replace(report, added=added)

    def _begin_import(self, db: sqlite3.Connection, report: ImportReport, now: float) -> int:
        """Notes the file down; its id. An InputError where it is known by its content."""
        if db.execute("SELECT 1 FROM imports WHERE sha256 = ?", (report.sha256,)).fetchone():
            raise InputError(f"{Path(report.path).name} has been imported already.", "Nothing was added a second time.")
        cursor = db.execute(
            "INSERT INTO imports (path, layout, sha256, rows_ok, rejected, added, created)"
            " VALUES (?, ?, ?, ?, ?, '{}', ?)",
            (
                storable(report.path),
                report.layout,
                report.sha256,
                report.rows_ok,
                json.dumps(report.rejected),
                now,
            ),
        )
        return int(cursor.lastrowid or 0)

    def _add_ballots(
        self, db: sqlite3.Connection, ids: Sequence[int], ballots: Sequence[ImportedRanking], job: str, now: float
    ) -> None:
        """Answers as completions of the import, and what it says of them as rankings by it."""
        number = 0
        origin_id = self._origin_id(db, Origin(base=job, sampler="import")) if ballots else 0
        for index, texts, tiers, bad in ballots:
            shown = []
            for text in texts:
                cursor = db.execute(
                    "INSERT INTO completions (prompt_id, text, origin_id, job, n, tokens, finish, created)"
                    " VALUES (?, ?, ?, ?, ?, 0, 'stop', ?)",
                    (ids[index], storable(text), origin_id, job, number, now),
                )
                shown.append(int(cursor.lastrowid or 0))
                number += 1
            named = tuple(tuple(shown[place] for place in tier) for tier in tiers)
            verdict: Verdict = "ranked" if len(tiers) > 1 else "both_bad" if len(bad) == len(shown) else "tie"
            marked = tuple(shown[place] for place in bad)
            insert_ranking(db, Ranking(0, ids[index], tuple(shown), named, verdict, job, marked, created=now))

    def add_prompts(self, prompts: Iterable[NewPrompt]) -> list[int]:
        """Ids of the prompts, old or new. A prompt already there keeps its split and gains an answer it lacked."""
        now = time.time()
        with self._write() as db:
            return [self._prompt_id(db, prompt, now, None) for prompt in prompts]

    def _prompt_id(self, db: sqlite3.Connection, prompt: NewPrompt, now: float, import_id: int | None) -> int:
        row = db.execute(
            "INSERT INTO prompts (turns, digest, answer, kind, split, import_id, created) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET answer = coalesce(answer, excluded.answer) RETURNING id",
            (
                storable(json.dumps(turns_to_json(prompt.turns), ensure_ascii=False)),
                prompt.digest,
                None if prompt.answer is None else storable(prompt.answer),
                storable(prompt.kind),
                prompt.split,
                import_id,
                now,
            ),
        ).fetchone()
        return int(row[0])

    def prompts(self, split: Split = "train", *, search: str = "", limit: int = -1, every: int = 1) -> list[Prompt]:
        """Prompts in the order they came; `search` keeps those whose text contains it, `every` one in so many."""
        return [
            prompt_of(row)
            for row in self._rows(
                f"SELECT {PROMPT} FROM prompts WHERE split = ? AND id % ? = 0 AND (? = '' OR says(turns, ?))"
                " ORDER BY id LIMIT ?",
                (split, every, search, search, limit),
            )
        ]

    def prompts_to_sample(self, split: Split, *, limit: int = -1) -> list[Prompt]:
        """Prompts for a sampling run: those with the fewest completions first, of these the ones nobody has answered
        with a demonstration, then in the order they came."""
        rows = self._rows(
            f"SELECT {PROMPT} FROM prompts WHERE split = ? ORDER BY completions, EXISTS (SELECT 1 FROM demonstrations d"
            " WHERE d.prompt_id = prompts.id AND d.undone IS NULL), prompts.id LIMIT ?",
            (split, limit),
        )
        return [prompt_of(row) for row in rows]

    def unsampled(self, split: Split) -> int:
        """How many prompts have no completion yet."""
        return int(
            self._rows(
                "SELECT count(*) FROM prompts WHERE split = ?"
                " AND NOT EXISTS (SELECT 1 FROM completions c WHERE c.prompt_id = prompts.id)",
                (split,),
            )[0][0]
        )

    def prompt(self, prompt_id: int) -> Prompt:
        rows = self._rows(f"SELECT {PROMPT} FROM prompts WHERE id = ?", (prompt_id,))
        if not rows:
            raise ProjectError(f"There is no prompt {prompt_id} in this project.")
        return prompt_of(rows[0])

    def add_demonstration(self, prompt_id: int, text: str, origin: str) -> int:
        """A better answer written by a person (or found elsewhere). One that was there or was undone is now theirs."""
        with self._write() as db:
            row = db.execute(
                "INSERT INTO demonstrations (prompt_id, text, origin, created) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (prompt_id, text) DO UPDATE SET undone = NULL, origin = excluded.origin RETURNING id",
                (prompt_id, storable(text), origin, time.time()),
            ).fetchone()
            return int(row[0])

    def origin_of(self, prompt_id: int, text: str) -> str:
        """Where an answer comes from that stands as a demonstration; "" where none does."""
        rows = self._rows(
            "SELECT origin FROM demonstrations WHERE prompt_id = ? AND text = ? AND undone IS NULL",
            (prompt_id, storable(text)),
        )
        return str(rows[0][0]) if rows else ""

    def undo_demonstration(self, demonstration_id: int, before: str = "") -> str:
        """Takes a demonstration back, or gives it the origin that it had `before`; its text."""
        undone = None if before else time.time()
        with self._write() as db:
            row = db.execute(
                "UPDATE demonstrations SET undone = ?, origin = coalesce(nullif(?, ''), origin) WHERE id = ?"
                " RETURNING text",
                (undone, before, demonstration_id),
            ).fetchone()
            return str(row[0])

    def demonstrations(self, *, limit: int = -1, search: str = "", every: int = 1) -> list[Demonstration]:
        """Demonstrations of training prompts in the order they came, `every` one in so many. Held out never train."""
        rows = self._rows(
            f"SELECT d.id, d.text, d.origin, d.tags, {PROMPT} FROM demonstrations d"
            " JOIN prompts ON prompts.id = d.prompt_id WHERE d.undone IS NULL AND prompts.split = 'train'"
            " AND d.id % ? = 0 AND (? = '' OR holds(d.text, ?) OR says(turns, ?)) ORDER BY d.id LIMIT ?",
            (every, search, search, search, limit),
        )
        return [
            Demonstration(row[0], prompt_of(row[4:]), row[1], row[2], tuple(sorted(from_json(row[3]).items())))
            for row in rows
        ]

    def tag_values(self) -> dict[str, list[str]]:
        """The tags that the demonstrations have: values by name."""
        found: dict[str, set[str]] = {}
        for (text,) in self._rows("SELECT DISTINCT tags FROM demonstrations WHERE undone IS NULL AND tags != '{}'"):
            for name, value in from_json(text).items():
                found.setdefault(name, set()).add(value)
        return {name: sorted(values) for name, values in sorted(found.items())}

    def imports(self) -> list[ImportReport]:
        """What was imported, newest first."""
        rows = self._rows("SELECT path, layout, sha256, rows_ok, rejected, added FROM imports ORDER BY id DESC")
        return [
            ImportReport(
                path=path,
                layout=layout,
                sha256=sha,
                rows_ok=ok,
                added=from_json(added),
                rejected=tuple((line, why) for line, why in from_json(rejected)),
            )
            for path, layout, sha, ok, rejected, added in rows
        ]

    # -- completions

    def add_completions(self, job: str, origin: Origin, completed: Iterable[Completed]) -> int:
        """Stores what a sampling run produced and says how many were new; ingesting the same events again adds none."""
        with self._write() as db:
            origin_id = self._origin_id(db, origin)
            stored = db.executemany(
                "INSERT OR IGNORE INTO completions (prompt_id, text, origin_id, job, n, tokens, finish, created)"
                " SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM prompts WHERE id = ?)",
                (
                    (c.prompt_id, storable(c.text), origin_id, job, c.n, c.tokens, c.finish, c.t, c.prompt_id)
                    for c in completed
                ),
            )
            return max(0, stored.rowcount)  # not total_changes, which counts what the triggers do as well

    def _origin_id(self, db: sqlite3.Connection, origin: Origin) -> int:
        text = json.dumps(dataclasses.asdict(origin), sort_keys=True)
        row = db.execute(
            "INSERT INTO origins (origin) VALUES (?) ON CONFLICT (origin) DO UPDATE SET origin = excluded.origin"
            " RETURNING id",
            (text,),
        ).fetchone()
        return int(row[0])

    def completions(self, prompt_id: int, *, job: str | None = None) -> list[Completion]:
        """A prompt's completions in the order they came, all of them or one sampling run's."""
        rows = self._rows(
            "SELECT c.id, c.prompt_id, c.text, o.origin, c.job, c.n, c.finish FROM completions c"
            " JOIN origins o ON o.id = c.origin_id WHERE c.prompt_id = ? AND (? IS NULL OR c.job = ?) ORDER BY c.id",
            (prompt_id, job, job),
        )
        return [_completion(row) for row in rows]

    def sampled(self, job: str) -> set[tuple[int, int]]:
        """(prompt_id, n) of a sampling run's stored completions."""
        return {(int(p), int(n)) for p, n in self._rows("SELECT prompt_id, n FROM completions WHERE job = ?", (job,))}


def _completion(row: Sequence[Any]) -> Completion:
    return Completion(row[0], row[1], row[2], Origin(**from_json(row[3])), row[4], row[5], row[6])
