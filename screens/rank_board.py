"""The Rank screen without its votes: what it is made of, how an item is drawn, and the ways to look at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from screens.base import LEAST_COLUMNS, BenchScreen
from screens.rank_view import answers_of, origin_of
from screens.widgets.answers import Answers, Shown, View
from screens.widgets.asked import Asked
from screens.widgets.decisions import BallotRow, DecisionRow, Decisions, RankHeader, Standing, mark_of
from screens.widgets.panel import Empty
from screens.widgets.quality import Quality, QualityPanel
from screens.widgets.writing import BetterAnswer, WrittenLine
from workbench import preferences
from workbench.next_step import identical
from workbench.ranking import RankSession
from workbench.ranking.agreement import Bias
from workbench.ranking.agreement import Standing as SourceStanding
from workbench.ranking.ballot import Ballot, Clock, Guard
from workbench.ranking.sides import Item
from workbench.ranking.word_diff import differing
from workbench.text import clean

if TYPE_CHECKING:
    from workbench.next_step import Progress

DECISIONS_SHOWN = 8
DIFFERENCES = ("", "differing words", "only what differs")
LENGTHS, SHOWN = "rank lengths", "shown"
"""The preference for word counts beside the answers."""
VERY_WIDE_COLUMNS = 150
"""From here prompt and figures have a column of their own, and the answers still 50 letters each."""


@dataclass(frozen=True)
class Clocks:
    """Time as the ranking sees it; tests hand in their own, so that none of them waits."""

    monotonic: Clock = time.monotonic
    now: Callable[[], float] = time.time


class RankBoard(BenchScreen):
    """Prompt, answers, and the rows around them. Everything here only looks."""

    PLACE = "rank"
    CSS_PATH = "rank.tcss"
    AUTO_FOCUS = ""
    SAYS_NEXT_STEP = False
    clocks: ClassVar[Clocks] = Clocks()
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  # as in the app
        (0, "-too-narrow"),
        (LEAST_COLUMNS, "-narrow"),
        (VERY_WIDE_COLUMNS, "-very-wide"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.session: RankSession | None = None
        self.guard = Guard(self.clocks.monotonic)
        self._view = View(lengths=preferences.get(LENGTHS) == SHOWN)
        self._locked: int | None = None
        self._ballot: Ballot | None = None
        self._diff = 0
        self._revealed = False
        self._failed = False
        self._origins: tuple[str, ...] = ()
        self._drafts: dict[int, str] = {}
        self._edited: set[int] = set()
        self._new_pairs: int | None = None
        self._sources: tuple[SourceStanding, ...] = ()
        self._longer = Bias()
        self._changed = False
        self._progress: Progress | None = None

    def content(self) -> ComposeResult:
        # few boxes within boxes: every one of them is composed anew for each vote
        with Vertical(id="rank-side"):
            yield Asked(id="asked-beside")
            yield QualityPanel(id="rank-quality")
        with Vertical(id="rank-main"):
            yield RankHeader()
            yield Asked(id="asked-above")
            yield Answers()
            yield Empty("", id="rank-empty")
            yield BetterAnswer(id="rank-edit")
            yield WrittenLine(id="rank-line")
            yield BallotRow()
            yield DecisionRow()

    def on_mount(self) -> None:
        beside = self.query_one("#asked-beside", Asked)
        beside.whole = True
        beside.border_title = Content(" prompt ")
        self.query_one(QualityPanel).border_title = Content(" how the judging goes ")
        self.query_one(Empty).display = False

    # -- drawing

    @property
    def item(self) -> Item | None:
        return self.session.item if self.session else None

    def _turn_to_item(self) -> None:
        """Another item is on screen: everything that belonged to the last one is dropped."""
        item = self.item
        self._locked, self._revealed = None, False
        self._ballot = Ballot(len(item.answers)) if item and item.layout == "kway" else None
        self._view = replace(self._view, zoomed=False)
        self.guard.drawn()
        self._draw()
        self.call_after_refresh(self._painted)

    def _painted(self) -> None:
        if self.session is not None:
            self.guard.drawn()
            self.session.drawn()
            self._look_ahead()

    @work(thread=True, group="rank-ahead")
    def _look_ahead(self) -> None:
        if self.session is not None:
            self.session.look_ahead()

    def _draw(self) -> None:
        item = self.item
        answers = self.query_one(Answers)
        answers.display = item is not None
        self.query_one(Empty).display = item is None and self.session is not None
        for asked in self.query(Asked):
            asked.turns = item.prompt.turns if item else ()
        if item is not None:
            panes = answers_of(item, self._ballot, diff=self._diff > 0, revealed=self._revealed)
            view = replace(self._view, only_differences=self._diff > 1)
            answers.shown = Shown(panes, self._locked, view)
        self._draw_rows()
        self.refresh_bindings()

    def _say_why_empty(self, session: RankSession) -> None:
        empty = self.query_one(Empty)
        alike = f" {identical(len(session.same))}." if session.same else ""
        skipped = len(session.decisions.skips)
        if session.search:
            empty.say("No prompt that is left to rank contains that text.", "/", "to change the filter")
        elif skipped:
            empty.say(f"Everything else is ranked; {skipped:,} skipped.", "space", "to bring them back")
        elif session.decisions.done:
            ranked = f"All {session.decisions.done:,} are ranked.{alike}"
            if self.new_pairs:
                empty.say(ranked, "t", "to train DPO on what you chose; q or esc leaves")
            else:
                empty.say(ranked, "q", "to go back to Home")
        elif session.same:
            empty.say("Every prompt's answers are the same text.", "4", "to sample more, at a higher temperature")
        else:
            empty.say("Nothing to rank yet: no prompt has two answers.", "4", "to sample some")

    def _draw_rows(self) -> None:
        session, item = self.session, self.item
        if session is None:
            return
        if item is None:
            self._say_why_empty(session)
        done = session.decisions
        self.query_one(RankHeader).standing = Standing(
            done.done,
            session.total,
            "" if item is None else "A/B" if item.layout == "ab" else f"{len(item.answers)}-way",
            done.agreement,
            self.new_pairs,
            session.search,
            bool(item and item.flag is not None),
            len(item.notes) if item else 0,
            session.doubter,
            DIFFERENCES[self._diff] if item is not None and item.layout == "ab" else "",
            bool(item and item.standing),
        )
        row = self.query_one(BallotRow)
        row.display, row.ballot = self._ballot is not None, self._ballot
        last = session.last
        marks = tuple(mark_of(r, r.id in self._edited) for r in session.history[-DECISIONS_SHOWN:])
        self.query_one(DecisionRow).decisions = Decisions(
            marks, last.created if last else None, self._failed, self._origins
        )
        self._draw_quality(session)

    def _draw_quality(self, session: RankSession) -> None:
        done = session.decisions
        self.query_one(QualityPanel).quality = Quality(
            done.bias,
            self._longer,
            done.agreement,
            done.repeats,
            done.median_seconds,
            len(done.skips),
            len(session.same),
            self._sources,
        )

    @property
    def new_pairs(self) -> int | None:
        """Pairs that no run has trained on; None until it is worked out."""
        if self._new_pairs is None or self.session is None:
            return None
        return max(0, self._new_pairs + self.session.pair_changes)

    # -- looking

    def action_lock(self, step: int) -> None:
        """All together, then each answer in turn, then all together again."""
        count = len(self.item.answers) if self.item else 0
        at = (-1 if self._locked is None else self._locked) + 1 + step
        self._locked = None if at % (count + 1) == 0 else at % (count + 1) - 1
        self._draw()

    def action_focus_answer(self, answer: int) -> None:
        if self.item is not None and answer < len(self.item.answers):
            self._locked = None if self._locked == answer else answer
            self._draw()

    def action_zoom(self) -> None:
        self._view = replace(self._view, zoomed=not self._view.zoomed)
        if self._view.zoomed and self._locked is None:
            self._locked = 0
        self._draw()

    def action_diff(self) -> None:
        item = self.item
        if item is None:
            return
        self._diff = (self._diff + 1) % 3
        found = differing(*(clean(answer.text) for answer in item.answers)) if self._diff else ""
        if isinstance(found, str) and found:
            self._diff = 0
            self.notice(found)
        if self._diff:
            self._view = replace(self._view, markdown=False, invisible=False)
        self._draw()

    def action_markdown(self) -> None:
        """One way to look at a text puts an end to another, which could not be seen under it."""
        self._diff = 0
        self._view = replace(self._view, markdown=not self._view.markdown, invisible=False)
        self._draw()

    def action_invisible(self) -> None:
        self._diff = 0
        self._view = replace(self._view, invisible=not self._view.invisible, markdown=False)
        self._draw()

    def action_lengths(self) -> None:
        """Hidden until asked for: knowing which answer is longer sways, so it is a choice, and remembered as one."""
        self._view = replace(self._view, lengths=not self._view.lengths)
        preferences.put(LENGTHS, SHOWN if self._view.lengths else "hidden")
        self._draw()

    def action_stack(self) -> None:
        self._view = replace(self._view, stacked=not self._view.stacked)
        self._draw()

    def action_prompt(self) -> None:
        asked = self.query_one("#asked-above", Asked)
        asked.whole = not asked.whole

    def action_reveal(self) -> None:
        """Where the answers came from: of this prompt if it has a vote, else of the last one voted on."""
        item = self.item
        if item is not None and item.standing is not None:
            self._revealed = not self._revealed
            self._draw()
        elif self.session is not None and (voted := self.session.last_item()) is not None:
            names = [answer.key for answer in answers_of(voted, None, diff=False, revealed=False)]
            pairs = zip(names, voted.answers, strict=True)
            self._origins = () if self._origins else tuple(f"{name} {origin_of(answer)}" for name, answer in pairs)
            self._draw_rows()

    def action_scroll(self, lines: int) -> None:
        self.query_one(Answers).move(lines)

    def action_scroll_half(self, pages: int) -> None:
        self.query_one(Answers).move(pages, pages=True)

    def action_scroll_to(self, where: str) -> None:
        self.query_one(Answers).move(0, to=where)
