"""Rankings, the queue of what to rank next, flags and notes. Nothing is deleted: undoing stamps a row."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from workbench.records import PERSON, Prompt, Ranking, turns_from_json
from workbench.store.database import Database, from_json, storable

PROMPT = "prompts.id, prompts.turns, prompts.answer, prompts.kind, prompts.split"
RANKING = "r.id, r.prompt_id, r.shown, r.tiers, r.verdict, r.judge, r.unacceptable, r.seed, r.seconds, r.created"
JUDGED_AT_ONCE = 1_000
"""Rankings whose texts are fetched together: one by one took 6.7 s for 200,000."""

LOOKED_AT_ONCE = 500
"""Prompts whose answers are compared in one query: 8 ms."""


class Judgements(Database):
    """What was judged of the completions, and by whom."""

    # -- rankings

    def add_ranking(self, ranking: Ranking) -> int:
        """Stores a judgement; its id. When this returns it survives a crash of anything."""
        with self._write() as db:
            return insert_ranking(db, ranking)

    def add_rankings(self, rankings: Iterable[Ranking]) -> int:
        """Many judgements in one transaction (a rule or a model judged); how many."""
        with self._write() as db:
            return len([insert_ranking(db, ranking) for ranking in rankings])

    def undo_ranking(self, ranking_id: int) -> None:
        """Takes a judgement back. The row stays, stamped, so the history is whole."""
        with self._write() as db:
            db.execute("UPDATE rankings SET undone = ? WHERE id = ? AND undone IS NULL", (time.time(), ranking_id))

    def rankings(self, *, judge: str | None = None, prompt_id: int | None = None, newest: int = -1) -> list[Ranking]:
        """Judgements that stand, oldest first; `newest` keeps only the last so many."""
        asked = {"judge": judge, "prompt_id": prompt_id}
        given = {name: value for name, value in asked.items() if value is not None}
        conditions = "".join(f" AND {name} = ?" for name in given)  # spelt out, so that an index serves each
        rows = self._rows(
            f"SELECT {RANKING} FROM rankings r WHERE undone IS NULL{conditions} ORDER BY id DESC LIMIT ?",
            (*given.values(), newest),
        )
        return [_ranking(row) for row in reversed(rows)]

    def judged(self) -> Iterator[tuple[Prompt, Ranking, dict[int, str]]]:
        """Every standing judgement of a training prompt with its prompt and the shown texts, by completion id."""
        rows = self._rows(
            f"SELECT {RANKING}, {PROMPT} FROM rankings r JOIN prompts ON prompts.id = r.prompt_id"
            " WHERE r.undone IS NULL AND prompts.split = 'train' ORDER BY r.id"
        )
        for start in range(0, len(rows), JUDGED_AT_ONCE):
            some = [(_ranking(row[:10]), row[10:]) for row in rows[start : start + JUDGED_AT_ONCE]]
            texts = self.texts(list({shown for ranking, _ in some for shown in ranking.shown}))
            for ranking, prompt in some:
                yield prompt_of(prompt), ranking, {i: texts[i] for i in ranking.shown if i in texts}

    def texts(self, completion_ids: Sequence[int]) -> dict[int, str]:
        """Completions' texts by id. At most 32,766 ids, SQLite's limit."""
        marks = ",".join("?" * len(completion_ids))
        return {
            int(i): str(t)
            for i, t in self._rows(f"SELECT id, text FROM completions WHERE id IN ({marks})", tuple(completion_ids))
        }

    def next_to_rank(self, *, after: str = "", search: str = "") -> tuple[Prompt, str] | None:
        """The next prompt with two or more completions that a person has not judged, and its place in the queue.

        A prompt that was judged comes back when two or more completions are newer than that judgement.

        The queue's order is that of the prompts' digests: balanced, random, and the same tomorrow. `after` is the
        place to go on from. A skipped prompt counts as judged until the skip is undone.
        """
        matching = " AND says(turns, ?)" if search else ""
        rows = self._rows(
            f"SELECT {PROMPT}, digest FROM prompts INDEXED BY waiting_prompts"
            f" WHERE split = 'train' AND fresh > 1 AND digest > ?{matching} ORDER BY digest LIMIT 1",
            (after, *((search,) if search else ())),
        )
        return (prompt_of(rows[0][:5]), str(rows[0][5])) if rows else None

    def waiting_alike(self, most: int) -> tuple[int, set[int]]:
        """(how many prompts of the queue were looked at, ids of those whose new answers are all the same text).

        Ten microseconds a prompt. Others get their turn at the store in between, so a vote never waits for it.
        """
        looked, alike, after = 0, set[int](), ""
        while looked < most:
            rows = self._rows(
                "SELECT w.digest, w.id, (SELECT min(text) = max(text) FROM completions c WHERE c.prompt_id = w.id"
                " AND c.id > coalesce((SELECT max(newest) FROM rankings r WHERE r.prompt_id = w.id AND r.judge = ?"
                " AND r.undone IS NULL), 0)) FROM (SELECT id, digest FROM prompts INDEXED BY waiting_prompts"
                " WHERE split = 'train' AND fresh > 1 AND digest > ? ORDER BY digest LIMIT ?) w",
                (PERSON, after, min(LOOKED_AT_ONCE, most - looked)),
            )
            if not rows:
                break
            looked += len(rows)
            alike |= {int(prompt_id) for _, prompt_id, same in rows if same}
            after = str(rows[-1][0])
        return looked, alike

    def judged_up_to(self, prompt_id: int) -> int:
        """The newest completion that there was when a person last decided on the prompt; 0 before that."""
        rows = self._rows(
            "SELECT max(newest) FROM rankings WHERE prompt_id = ? AND judge = ? AND undone IS NULL", (prompt_id, PERSON)
        )
        return int(rows[0][0] or 0)

    def place_of(self, prompt_id: int) -> str:
        """A prompt's place in the ranking queue."""
        return str(self._rows("SELECT digest FROM prompts WHERE id = ?", (prompt_id,))[0][0])

    def judges(self) -> list[str]:
        """Who has judged, by name."""
        rows = self._rows("SELECT DISTINCT judge FROM rankings WHERE undone IS NULL ORDER BY judge")
        return [str(judge) for (judge,) in rows]

    def judged_prompts(self) -> int:
        """How many prompts a person has judged (skips are not judgements)."""
        return int(
            self._rows(
                "SELECT count(DISTINCT prompt_id) FROM rankings WHERE judge = ? AND undone IS NULL"
                " AND verdict != 'skip'",
                (PERSON,),
            )[0][0]
        )

    # -- flags and notes

    def add_remark(self, prompt_id: int, kind: str, shown: Sequence[int], text: str = "") -> int:
        """A 'flag' or a 'note' on completions of a prompt."""
        with self._write() as db:
            return int(
                db.execute(
                    "INSERT INTO remarks (prompt_id, kind, shown, text, created) VALUES (?, ?, ?, ?, ?)",
                    (prompt_id, kind, json.dumps(list(shown)), storable(text), time.time()),
                ).lastrowid
                or 0
            )

    def undo_remark(self, remark_id: int) -> None:
        with self._write() as db:
            db.execute("UPDATE remarks SET undone = ? WHERE id = ?", (time.time(), remark_id))

    def remarks(self, prompt_id: int) -> list[tuple[int, str, str]]:
        """(id, kind, text) of a prompt's standing remarks, oldest first."""
        return [
            (int(i), str(k), str(t))
            for i, k, t in self._rows(
                "SELECT id, kind, text FROM remarks WHERE prompt_id = ? AND undone IS NULL ORDER BY id", (prompt_id,)
            )
        ]


def prompt_of(row: Sequence[Any]) -> Prompt:
    return Prompt(row[0], turns_from_json(from_json(row[1])), row[2], row[3], row[4])


def _ranking(row: Sequence[Any]) -> Ranking:
    return Ranking(
        row[0],
        row[1],
        tuple(from_json(row[2])),
        tuple(tuple(tier) for tier in from_json(row[3])),
        row[4],
        row[5],
        tuple(from_json(row[6])),
        row[7],
        row[8],
        row[9],
    )


def insert_ranking(db: sqlite3.Connection, r: Ranking) -> int:
    """Adds the row inside the caller's transaction; its id."""
    cursor = db.execute(
        "INSERT INTO rankings (prompt_id, judge, shown, tiers, verdict, unacceptable, seed, seconds, created, newest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(id), 0) FROM completions WHERE prompt_id = ?))",
        (
            r.prompt_id,
            r.judge,
            json.dumps(r.shown),
            json.dumps(r.tiers),
            r.verdict,
            json.dumps(r.unacceptable),
            r.seed,
            r.seconds,
            r.created or time.time(),
            r.prompt_id,
        ),
    )
    return int(cursor.lastrowid or 0)
