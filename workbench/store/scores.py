"""What reward models think of completions, and the ranking queue in the order of their doubt.

A score has a natural key, (completion, judge): scoring again replaces it. Where the best two answers of a prompt are
close the model learns most from a person's word, so that is how the prompts can be queued.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from workbench.errors import InputError
from workbench.records import REWARD_MODEL, Prompt, Ranking
from workbench.store.database import Database
from workbench.store.rankings import PROMPT, insert_ranking, prompt_of

DIGEST_CHARACTERS = 32
"""A place in the queue ends with the prompt's digest; what stands before it is the order."""

UNSCORED = "~"
"""What the places of prompts without two scores begin with: after all hexadecimal digits."""

QUEUED_BY = "rank order"
"""The project's fact that names the judge whose doubts order the ranking queue; without one it is balanced."""

PROMPTS_AT_ONCE = 500
"""Prompts whose completions are fetched together."""


class Scores(Database):
    """Scores by judge, and whom they put first in the queue."""

    def add_scores(self, judge: str, scores: Iterable[tuple[int, float]]) -> int:
        """Stores what a judge thinks of completions (by id), and how sure it is of each prompt's best; how many."""
        now = time.time()
        with self._write() as db:
            given = list(scores)
            stored = db.executemany(
                "INSERT INTO scores (judge, completion_id, score, created)"
                " SELECT ?, id, ?, ? FROM completions WHERE id = ? ON CONFLICT (judge, completion_id)"
                " DO UPDATE SET score = excluded.score, created = excluded.created",
                ((judge, score, now, completion_id) for completion_id, score in given),
            ).rowcount
            for prompt_id in _prompts_of(db, [completion_id for completion_id, _ in given]):
                _doubt(db, judge, prompt_id)
            return max(0, stored)

    def scores(self, judge: str, prompt_id: int) -> dict[int, float]:
        """A prompt's scores by completion id."""
        rows = self._rows(
            "SELECT c.id, s.score FROM completions c JOIN scores s ON s.completion_id = c.id AND s.judge = ?"
            " WHERE c.prompt_id = ? ORDER BY c.id",
            (judge, prompt_id),
        )
        return {int(i): float(score) for i, score in rows}

    def scored_prompts(self, judge: str) -> list[int]:
        """Prompts of which the judge has scored two completions or more."""
        rows = self._rows(
            "SELECT c.prompt_id FROM scores s JOIN completions c ON c.id = s.completion_id"
            " WHERE s.judge = ? GROUP BY c.prompt_id HAVING count(*) > 1 ORDER BY 1",
            (judge,),
        )
        return [int(prompt_id) for (prompt_id,) in rows]

    def scorers(self) -> list[str]:
        """The judges that have scored anything, by name."""
        rows = self._rows(
            "WITH RECURSIVE j(name) AS (SELECT min(judge) FROM scores UNION ALL"  # one step a judge, not one a score
            " SELECT (SELECT min(judge) FROM scores WHERE judge > j.name) FROM j WHERE j.name IS NOT NULL)"
            " SELECT name FROM j WHERE name IS NOT NULL"
        )
        return [str(name) for (name,) in rows]

    def replace_rankings(self, judge: str, rankings: Iterable[Ranking]) -> int:
        """Stores a judge's rankings, each in place of what it said of that prompt before; how many are new."""
        new = 0
        with self._write() as db:
            for ranking in rankings:
                standing = db.execute(
                    "SELECT tiers FROM rankings WHERE prompt_id = ? AND judge = ? AND undone IS NULL",
                    (ranking.prompt_id, judge),
                ).fetchall()
                if standing == [(json.dumps(ranking.tiers),)]:
                    continue
                db.execute(
                    "UPDATE rankings SET undone = ? WHERE prompt_id = ? AND judge = ? AND undone IS NULL",
                    (time.time(), ranking.prompt_id, judge),
                )
                insert_ranking(db, ranking)
                new += 1
        return new

    def unscored(self, judge: str, *, job: str | None = None) -> Iterator[tuple[Prompt, list[tuple[int, str]]]]:
        """Prompts with the (id, text) of their completions that the judge has not scored, all or a sampling run's."""
        after, wanted = 0, " AND c.job = ?" if job else ""
        while True:
            ids = self._rows(
                "SELECT id FROM prompts WHERE completions > 0 AND id > ? ORDER BY id LIMIT ?", (after, PROMPTS_AT_ONCE)
            )
            if not ids:
                return
            first, after = int(ids[0][0]), int(ids[-1][0])
            rows = self._rows(
                f"SELECT {PROMPT}, c.id, c.text FROM prompts JOIN completions c ON c.prompt_id = prompts.id"
                f" WHERE prompts.id BETWEEN ? AND ?{wanted} AND NOT EXISTS (SELECT 1 FROM scores s"
                " WHERE s.judge = ? AND s.completion_id = c.id) ORDER BY prompts.id, c.id",
                (first, after, *((job,) if job else ()), judge),
            )
            yield from _by_prompt(rows)

    # -- the queue

    @property
    def queued_by(self) -> str:
        """The judge whose doubts come first in the ranking queue; "" for the balanced order of digests."""
        return self.get(QUEUED_BY) if self.get(QUEUED_BY) in ("", *self.scorers()) else ""

    def queue_by(self, judge: str) -> None:
        """Orders the ranking queue by a judge's doubts, or with "" by digests; an InputError where it has none."""
        if judge and judge not in self.scorers():
            run = judge.removeprefix(REWARD_MODEL)
            raise InputError(f"{judge} has scored nothing in this project.", f"Let it: workbench judge {run}")
        self.put(QUEUED_BY, judge)

    def next_in_doubt(self, judge: str, *, after: str = "", search: str = "") -> tuple[Prompt, str] | None:
        """The next prompt that a person has to rank, and its place: where the judge doubts most comes first.

        Prompts that the judge has not scored come after all others, in the usual order.
        """
        matching, wanted = (" AND says(turns, ?)", (search,)) if search else ("", ())
        waiting = "split = 'train' AND fresh > 1"
        if after < UNSCORED:
            rows = self._rows(
                f"SELECT {PROMPT}, d.place FROM doubts d JOIN prompts ON prompts.id = d.prompt_id"
                f" WHERE d.judge = ? AND d.place > ? AND {waiting}{matching} ORDER BY d.place LIMIT 1",
                (judge, after, *wanted),
            )
            if rows:
                return prompt_of(rows[0][:5]), str(rows[0][5])
        rows = self._rows(
            f"SELECT {PROMPT}, digest FROM prompts INDEXED BY waiting_prompts WHERE {waiting} AND digest > ?"
            f" AND NOT EXISTS (SELECT 1 FROM doubts d WHERE d.judge = ? AND d.prompt_id = prompts.id){matching}"
            " ORDER BY digest LIMIT 1",
            (after[1:] if after.startswith(UNSCORED) else "", judge, *wanted),
        )
        return (prompt_of(rows[0][:5]), UNSCORED + str(rows[0][5])) if rows else None


def _prompts_of(db: sqlite3.Connection, completion_ids: Sequence[int]) -> list[int]:
    found: set[int] = set()
    for start in range(0, len(completion_ids), 1_000):
        some = completion_ids[start : start + 1_000]
        marks = ",".join("?" * len(some))
        rows = db.execute(f"SELECT DISTINCT prompt_id FROM completions WHERE id IN ({marks})", some)
        found.update(int(prompt_id) for (prompt_id,) in rows)
    return sorted(found)


def _doubt(db: sqlite3.Connection, judge: str, prompt_id: int) -> None:
    """Puts a prompt into the queue by how far its best two different answers are apart; out of it with fewer."""
    best = db.execute(
        "SELECT max(s.score) FROM completions c JOIN scores s ON s.completion_id = c.id AND s.judge = ?"
        " WHERE c.prompt_id = ? GROUP BY c.text ORDER BY 1 DESC LIMIT 2",
        (judge, prompt_id),
    ).fetchall()
    if len(best) == 2:
        db.execute(
            "INSERT INTO doubts (judge, prompt_id, place) SELECT ?, id, ? || digest FROM prompts WHERE id = ?"
            " ON CONFLICT (judge, prompt_id) DO UPDATE SET place = excluded.place",
            (judge, sortable(float(best[0][0]) - float(best[1][0])), prompt_id),
        )


def sortable(number: float) -> str:
    """A number that is not negative as text of the same order: IEEE 754's bits are ordered like what they stand for."""
    return struct.pack(">d", number).hex()


def _by_prompt(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Prompt, list[tuple[int, str]]]]:
    prompt: Prompt | None = None
    answers: list[tuple[int, str]] = []
    for row in rows:
        if prompt is None or row[0] != prompt.id:
            if prompt is not None:
                yield prompt, answers
            prompt, answers = prompt_of(row[:5]), []
        answers.append((int(row[5]), str(row[6])))
    if prompt is not None:
        yield prompt, answers
