"""Rankings, the queue of what to rank next, flags and notes. Nothing is deleted: undoing stamps a row."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from workbench.records import PERSON, Prompt, Ranking, turns_from_json
from workbench.store.database import Database

PROMPT = "prompts.id, prompts.turns, prompts.answer, prompts.kind, prompts.split"


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
        rows = self._rows(
            "SELECT id, prompt_id, shown, tiers, verdict, judge, unacceptable, seed, seconds, created FROM rankings"
            " WHERE undone IS NULL AND (? IS NULL OR judge = ?) AND (? IS NULL OR prompt_id = ?) ORDER BY id DESC LIMIT ?",
            (judge, judge, prompt_id, prompt_id, newest),
        )
        return [_ranking(row) for row in reversed(rows)]

    def judged(self) -> Iterator[tuple[Prompt, Ranking, dict[int, str]]]:
        """Every standing judgement of a training prompt with its prompt and the shown texts, by completion id."""
        rows = self._rows(
            "SELECT r.id, r.prompt_id, r.shown, r.tiers, r.verdict, r.judge, r.unacceptable, r.seed, r.seconds, r.created,"
            f" {PROMPT} FROM rankings r JOIN prompts ON prompts.id = r.prompt_id"
            " WHERE r.undone IS NULL AND prompts.split = 'train' ORDER BY r.id"
        )
        for row in rows:
            ranking = _ranking(row[:10])
            yield prompt_of(row[10:]), ranking, self.texts(ranking.shown)

    def texts(self, completion_ids: Sequence[int]) -> dict[int, str]:
        marks = ",".join("?" * len(completion_ids))
        return {
            int(i): str(t)
            for i, t in self._rows(f"SELECT id, text FROM completions WHERE id IN ({marks})", tuple(completion_ids))
        }

    def next_to_rank(self, *, after: str = "", judge: str = PERSON, search: str = "") -> tuple[Prompt, str] | None:
        """The next prompt with two or more completions that `judge` has not judged, and its place in the queue.

        The queue's order is that of the prompts' digests: balanced, random, and the same tomorrow. `after` is the
        place to go on from. A skipped prompt counts as judged until `unskip`.
        """
        rows = self._rows(
            f"SELECT {PROMPT}, prompts.digest FROM prompts WHERE prompts.digest > ? AND split = 'train'"
            " AND (SELECT count(*) FROM (SELECT 1 FROM completions c WHERE c.prompt_id = prompts.id LIMIT 2)) = 2"
            " AND NOT EXISTS (SELECT 1 FROM rankings r WHERE r.prompt_id = prompts.id AND r.judge = ? AND r.undone IS NULL)"
            " AND (? = '' OR instr(lower(turns), lower(?))) ORDER BY prompts.digest LIMIT 1",
            (after, judge, search, search),
        )
        return (prompt_of(rows[0][:5]), str(rows[0][5])) if rows else None

    def place_of(self, prompt_id: int) -> str:
        """A prompt's place in the ranking queue."""
        return str(self._rows("SELECT digest FROM prompts WHERE id = ?", (prompt_id,))[0][0])

    def judged_prompts(self, judge: str = PERSON) -> int:
        """How many prompts the judge has judged (skips are not judgements)."""
        return int(
            self._rows(
                "SELECT count(DISTINCT prompt_id) FROM rankings WHERE judge = ? AND undone IS NULL"
                " AND verdict != 'skip'",
                (judge,),
            )[0][0]
        )

    # -- flags and notes

    def add_remark(self, prompt_id: int, kind: str, shown: Sequence[int], text: str = "") -> int:
        """A 'flag' or a 'note' on completions of a prompt."""
        with self._write() as db:
            return int(
                db.execute(
                    "INSERT INTO remarks (prompt_id, kind, shown, text, created) VALUES (?, ?, ?, ?, ?)",
                    (prompt_id, kind, json.dumps(list(shown)), text, time.time()),
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
    return Prompt(row[0], turns_from_json(json.loads(row[1])), row[2], row[3], row[4])


def _ranking(row: Sequence[Any]) -> Ranking:
    return Ranking(
        row[0],
        row[1],
        tuple(json.loads(row[2])),
        tuple(tuple(tier) for tier in json.loads(row[3])),
        row[4],
        row[5],
        tuple(json.loads(row[6])),
        row[7],
        row[8],
        row[9],
    )


def insert_ranking(db: sqlite3.Connection, r: Ranking) -> int:
    """Adds the row inside the caller's transaction; its id."""
    cursor = db.execute(
        "INSERT INTO rankings (prompt_id, judge, shown, tiers, verdict, unacceptable, seed, seconds, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        ),
    )
    return int(cursor.lastrowid or 0)
