"""The rows around the answers of the rank screen: how far one is, the order of a ballot, the last decisions."""

from __future__ import annotations

import time
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from screens.safe import line, one_line
from screens.widgets.status import bar
from workbench.ranking.agreement import Agreement, left_won
from workbench.ranking.ballot import LETTERS, Ballot
from workbench.records import Ranking

SHOWN_DECISIONS = 8


@dataclass(frozen=True)
class Standing:
    """Where the session stands: what the header shows."""

    done: int = 0
    total: int = 0
    layout: str = ""
    agreement: Agreement | None = None
    new_pairs: int | None = None
    search: str = ""
    flagged: bool = False
    notes: int = 0
    doubter: str = ""
    """The judge whose doubts come first."""
    view: str = ""
    """What of the answers is shown, where it is not all."""
    judged: bool = False
    """Whether the prompt on screen has a vote already."""


class RankHeader(Widget, can_focus=False):
    """One row: progress, agreement with oneself, pairs that wait for training."""

    standing: reactive[Standing] = reactive(Standing())

    def render(self) -> Content:
        s, width = self.standing, self.size.width
        share = s.done / s.total if s.total else 0.0
        left = [
            Content.assemble(
                (f" {s.done:,}/{s.total:,} ", "bold $strong"), (bar(share, 12), "$primary"), f" {share:.0%}"
            ),
            Content.styled(s.layout, "$quiet"),
        ]
        left += [Content.styled(s.view, "bold $accent")] if s.view else []
        left += [line(f"unsure first ({s.doubter})", "$quiet", limit=40)] if s.doubter else []
        left += [Content.styled("⚑ flagged", "bold $accent")] if s.flagged else []
        left += [Content.styled(f"✎ {s.notes}", "$accent")] if s.notes else []
        left += [Content.styled("has a vote", "$primary")] if s.judged else []
        left += [Content.assemble(("/", "$accent"), line(s.search, limit=20))] if s.search else []
        if s.agreement is not None:
            left.append(agreement_line(s.agreement))
        row = Content("  ").join(left)
        right = self._pairs()
        gap = width - row.cell_length - right.cell_length - 1
        if gap < 1:
            return row.truncate(width, ellipsis=True)
        return Content.assemble(row, " " * gap, right)

    def _pairs(self) -> Content:
        count = self.standing.new_pairs
        if count is None:
            return Content("")
        if not count:
            return Content.styled("no new pairs ", "$quiet")
        word = "pair" if count == 1 else "pairs"
        return Content.assemble((f"{count:,} new {word} ", "$strong"), ("t", "bold $accent"), " DPO ")


def agreement_line(found: Agreement) -> Content:
    """Agreement with oneself in words and its interval: a bare figure would promise too much."""
    return Content.assemble(
        ("self-agreement ", "$quiet"),
        (f"{found.kappa:.2f}", "$strong"),
        (f" ({found.low:.2f}–{found.high:.2f}, n={found.repeats})", "$quiet"),
    )


class BallotRow(Widget, can_focus=False):
    """One row: the order pressed so far, who is left, and what the next letter does."""

    ballot: reactive[Ballot | None] = reactive(None, always_update=True)

    def render(self) -> Content:
        ballot = self.ballot
        if ballot is None:
            return Content("")
        text = ballot.text()
        order = Content.styled(text, "bold $strong") if text else Content.styled("press letters, best first", "$quiet")
        left = " ".join(LETTERS[answer].upper() for answer in ballot.rest)
        after = {"tie": " = ", "bad": " ✗ "}.get(ballot.pending, " > " if text and left else "")
        row = Content.assemble((" order  ", "$quiet"), order, (after, "bold $accent"))
        if left and text:
            row = Content.assemble(
                row, (f"   left: {left}", "$quiet"), ("   enter", "$accent"), (" the rest is worse", "$quiet")
            )
        return row.truncate(self.size.width, ellipsis=True)


@dataclass(frozen=True)
class Decisions:
    """The last decisions, newest last, and whether the newest is safe."""

    marks: tuple[str, ...] = ()
    saved_at: float | None = None
    """When it was stored (Unix seconds); None where nothing was decided in this session."""
    failed: bool = False
    origins: tuple[str, ...] = ()
    """Where the answers of the last decision came from, once asked for."""


class DecisionRow(Widget, can_focus=False):
    """One row: `last  1 2 = x` on the left, `saved ✓ 12:04:31` on the right."""

    decisions: reactive[Decisions] = reactive(Decisions())

    def render(self) -> Content:
        d = self.decisions
        marks = [
            Content.styled(mark, "$strong" if at == len(d.marks) - 1 else "$quiet") for at, mark in enumerate(d.marks)
        ]
        left = Content.assemble((" last  ", "$quiet"), Content("  ").join(marks)) if marks else Content("")
        if d.origins:
            origins = Content("   ").join(line(one_line(origin, 60), "$success") for origin in d.origins)
            left = Content.assemble((" it was  ", "$quiet"), origins)
        right = self._saved()
        room = self.size.width - right.cell_length - 2
        left = left.truncate(max(0, room), ellipsis=True)
        return Content.assemble(left, " " * max(1, self.size.width - left.cell_length - right.cell_length - 1), right)

    def _saved(self) -> Content:
        if self.decisions.failed:
            return Content.styled("✗ not saved", "bold $error")
        if self.decisions.saved_at is None:
            return Content("")
        clock = time.strftime("%H:%M:%S", time.localtime(self.decisions.saved_at))
        return Content.assemble(("saved ✓ ", "$success"), (clock, "$quiet"))


def mark_of(ranking: Ranking, edited: bool = False) -> str:
    """A decision in a few characters: 1, 2, =, x, · for later, e for an edit, `ca=d` for a ballot."""
    if edited:
        return "e"
    if ranking.verdict == "skip":
        return "·"
    if len(ranking.shown) == 2:
        won = left_won(ranking)
        return {"tie": "=", "both_bad": "x"}.get(ranking.verdict, "1" if won else "2")
    names = {shown: LETTERS[place] for place, shown in enumerate(ranking.shown)}
    return "".join("=".join(names[answer] for answer in tier) for tier in ranking.tiers)
