"""Rank: which answer is better, with single keys. A vote is in the store before anything else is drawn.

The screen draws and routes keys; what a key means to the ranking is the engine's (`workbench.ranking`, `ballot`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import events, on, work
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import Input

from screens.judging import BALANCED, Asked, ask, choices
from screens.messages import OpenTrain, ProjectChanged, RunLaunched
from screens.rank_board import RankBoard
from screens.rank_keys import AB_ONLY, KEYS, KWAY_ONLY, NEEDS_ITEM
from screens.widgets.answers import AnswerPane
from screens.widgets.picker import Picker
from screens.widgets.writing import BetterAnswer, WrittenLine
from workbench.errors import WorkbenchError
from workbench.next_step import COMPARED
from workbench.ranking import RankSession
from workbench.ranking.agreement import Bias, standings
from workbench.ranking.agreement import Standing as SourceStanding
from workbench.ranking.sides import weighed

if TYPE_CHECKING:
    from workbench.next_step import NextStep, Progress

SOURCE_VOTES = 500
"""Newest decisions that the table of sources is made of: a store query each, a quarter of a second in all."""


@dataclass
class SessionOpened(Message):
    """What was decided before is read, and the first prompt is ready."""

    session: RankSession


@dataclass
class OrderAsked(Message):
    """A reward model has scored all there is, or a run of that number does it."""

    asked: Asked


@dataclass
class SourcesKnown(Message):
    """What the votes say of the sources and of length, and how many prompts wait."""

    sources: tuple[SourceStanding, ...]
    longer: Bias
    waiting: int
    alike: set[int]


class RankScreen(RankBoard):
    """Blind ranking of completions: A/B, or up to six at once."""

    BINDINGS: ClassVar[list[BindingType]] = KEYS

    # -- loading

    def reload(self) -> None:
        if self.session is None or self.session.item is None:
            self._open()
        else:
            self._look_at_sources()

    @work(thread=True, group="rank-open")
    def _open(self) -> None:
        session = RankSession(self.bench.store, clock=self.clocks.monotonic, now=self.clocks.now)
        session.open()
        # Tens of thousands of decisions stay for as long as the app does. Unfrozen, the collector walks over all of
        # them every few votes, which doubles the time from key to paint (60 ms at 20,000).
        gc.collect()
        gc.freeze()
        self.post_message(SessionOpened(session))

    def on_session_opened(self, message: SessionOpened) -> None:
        if self.session is not None and self.session.item is not None:
            return  # a vote or an undo came first; its session knows more
        self.session = message.session
        self._turn_to_item()
        self._look_at_sources()

    @work(thread=True, group="rank-sources")
    def _look_at_sources(self) -> None:
        session = self.session
        if session is not None:
            store = self.bench.store
            found = weighed(store, session.history[-SOURCE_VOTES:])
            _, alike = store.waiting_alike(COMPARED)
            sources = tuple(standings(found.votes))
            self.post_message(SourcesKnown(sources, found.longer, store.counts().waiting, alike))

    def on_sources_known(self, message: SourcesKnown) -> None:
        self._sources, self._longer = message.sources, message.longer
        if self.session is not None:
            self.session.recount(message.waiting, message.alike)
        self._draw_rows()

    def know(self, progress: Progress, step: NextStep) -> None:
        if progress is self._progress:
            return  # told again; since it was worked out only votes here have changed anything
        self._progress = progress
        self._new_pairs = progress.new_pairs - (self.session.pair_changes if self.session else 0)
        self._draw_rows()

    def on_screen_suspend(self) -> None:
        if self._changed:
            self._changed = False
            self.post_message(ProjectChanged())

    # -- votes

    def _vote(self, key: str, decide: Callable[[RankSession], object]) -> None:
        """A key that stores something: guarded, stored, and only then drawn."""
        if self.session is None or self.item is None or not self.guard.allows(key):
            return
        self._store(decide)

    def _store(self, decide: Callable[[RankSession], object]) -> None:
        assert self.session is not None
        try:
            decide(self.session)
        except WorkbenchError:
            self._failed = True
            self._draw_rows()
            raise
        self._failed, self._changed, self._origins = False, True, ()
        self.status_row.notice = ""  # it was about the decision before
        if self.bench_app.error is not None:
            self.notice("Saved.")
        self._turn_to_item()

    def action_choose(self, side: int) -> None:
        self._vote(f"choose {side}", lambda session: session.choose(side))

    def action_tie(self) -> None:
        self._vote("tie", lambda session: session.tie())

    def action_both_bad(self) -> None:
        self._vote("both bad", lambda session: session.both_bad())

    def action_skip(self) -> None:
        self._vote("skip", lambda session: session.skip())

    def action_bring_back(self) -> None:
        self._store(lambda session: session.bring_back())

    def action_undo(self) -> None:
        if self.session is not None and not self.guard.repeats("undo"):
            self._store(lambda session: session.undo())

    # -- a K-way ballot

    def action_letter(self, answer: int) -> None:
        if self._ballot is not None and self.guard.allows(f"letter {answer}") and self._ballot.press(answer):
            self._after_ballot()

    def action_ballot_tie(self) -> None:
        if self._ballot is not None and self._ballot.tie():
            self._draw()

    def action_mark(self) -> None:
        if self._ballot is not None:
            self._ballot.mark()
            self._draw()

    def action_take_back(self) -> None:
        if self._ballot is not None and self._ballot.back():
            self._draw()

    def action_commit(self) -> None:
        ballot = self._ballot
        if ballot is None:
            return
        if not ballot.tiers:
            self.notice("Press at least the best answer's letter first; enter then puts the rest below it.")
        elif self.guard.allows("commit"):
            self._store(lambda session: session.order(ballot.whole(), ballot.bad))

    def action_move_answer(self, step: int) -> None:
        if self._ballot is not None and self._ballot.move(self._locked or 0, down=step > 0):
            self._after_ballot()

    def _after_ballot(self) -> None:
        """Draws the order so far, or stores it when every answer has its place."""
        ballot = self._ballot
        if ballot is not None and ballot.complete:
            self._store(lambda session: session.order(ballot.tiers, ballot.bad))
        else:
            self._draw()

    # -- words

    def action_flag(self) -> None:
        if self.session is not None and self.item is not None:
            flagged = self.session.toggle_flag()
            self._draw_rows()
            self.notice("Flagged; vote when you like." if flagged else "The flag is gone.")

    def action_note(self) -> None:
        self.query_one(WrittenLine).open("note", "a note on this prompt; enter keeps it")

    def action_filter(self) -> None:
        text = self.session.search if self.session else ""
        self.query_one(WrittenLine).open("filter", "only prompts that contain…; empty shows all", text)

    @on(Input.Submitted, "#rank-line")
    def _line_written(self, event: Input.Submitted) -> None:
        line = self.query_one(WrittenLine)
        line.close()
        if self.session is None:
            return
        if line.purpose == "filter":
            self.session.filter(event.value)
            self._turn_to_item()
        elif event.value.strip() and self.item is not None:
            self.session.note(event.value.strip())
            self._draw_rows()
            self.notice("The note is kept with this prompt.")

    def action_edit(self) -> None:
        if self.bench_app.error is not None:  # `e` is what the status row names for an error's details
            self.bench_app.action_error_details()
        elif self.item is not None:
            start = self.item.answers[self._locked or 0].text
            self.query_one(BetterAnswer).open(self._drafts.get(self.item.prompt.id, start))

    @on(BetterAnswer.Left)
    def _edit_left(self, event: BetterAnswer.Left) -> None:
        if self.item is not None:
            self._drafts[self.item.prompt.id] = event.text
        self.query_one(BetterAnswer).close()

    @on(BetterAnswer.Kept)
    def _edit_kept(self, event: BetterAnswer.Kept) -> None:
        item, text = self.item, event.text.strip()
        if item is None or self.session is None:
            return
        if not text or any(text == answer.text.strip() for answer in item.answers):
            self.notice("That is no new answer: change it, or leave with esc and vote.")
            return
        self._store(lambda session: session.edit(text))
        self._drafts.pop(item.prompt.id, None)
        self.query_one(BetterAnswer).close()
        if self.session.last is not None and item.standing is None:
            self._edited.add(self.session.last.id)
        self._draw_rows()
        self.notice("Kept: it beats what was shown, and is a demonstration now.")

    def action_walk(self, direction: int) -> None:
        if self.session is not None and self.session.walk(direction):
            self._turn_to_item()
        else:
            self.notice("That is the first decision there is." if direction < 0 else "Nothing else is left to rank.")

    def action_switch_mode(self) -> None:
        if self.session is not None:
            mode = self.session.switch_mode()
            self._turn_to_item()
            self.notice("A/B: two answers of every prompt." if mode == "ab" else "K-way where there are more than two.")

    # -- whose doubts come first

    def action_order(self) -> None:
        session = self.session
        if session is None:
            return
        found = choices(self.bench)
        if len(found) == 1:
            self.notice("There is no reward model yet: 6, then n, trains one on your rankings.")
            return
        now = "run:" + session.doubter.rpartition(":")[2] if session.doubter else BALANCED
        self.app.push_screen(Picker("which prompts first", list(found), now, found), self._order_chosen)

    def _order_chosen(self, chosen: str | None) -> None:
        if chosen == BALANCED and self.session is not None:
            self.session.order_by("")
            self._turn_to_item()
            self.notice("Every prompt alike.")
        elif chosen is not None:
            self._ask(chosen)

    @work(thread=True, exclusive=True, group="rank-ask")
    def _ask(self, choice: str) -> None:
        self.post_message(OrderAsked(ask(self.bench, choice)))

    def on_order_asked(self, message: OrderAsked) -> None:
        asked, run_id = message.asked, message.asked.judge.rpartition(":")[2]
        if asked.run:
            self.post_message(RunLaunched(asked.run))
            self.notice(f"Run {asked.run} lets reward model {run_id} score every answer; then press i again.")
        elif self.session is not None:
            self.session.order_by(asked.judge)
            self._turn_to_item()
            self.notice(f"What reward model {run_id} is least sure of comes first.")

    def action_stay(self) -> None:
        """Nothing: a vote pressed past the end of the queue must not lead to another screen."""

    def action_train(self) -> None:
        self.post_message(OpenTrain(method="dpo"))

    # -- edges

    @on(AnswerPane.Clicked)
    def _pane_clicked(self, event: AnswerPane.Clicked) -> None:
        if not event.on_title:
            self.action_focus_answer(event.index)
        elif self._ballot is not None:
            self.action_letter(event.index)
        else:
            self.action_choose(event.index)

    def on_paste(self, event: events.Paste) -> None:
        """Pasted text is never keys."""
        event.stop()

    def action_leave(self) -> None:
        if self._view.zoomed:
            self.action_zoom()
        else:
            super().action_leave()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        item = self.item
        if action == "stay":
            return item is None and self.session is not None and bool(self.session.history or self.session.search)
        if item is None and action in NEEDS_ITEM:
            return False
        if action == "bring_back":
            return item is None and self.session is not None and bool(self.session.decisions.skips)
        kway = item is not None and item.layout == "kway"
        if (kway and action in AB_ONLY) or (not kway and action in KWAY_ONLY):
            return False
        if action in ("letter", "focus_answer") and item is not None and parameters:
            return int(str(parameters[0])) < len(item.answers)
        if action == "lock" and parameters and not kway and parameters[0] == -1:
            return False
        return super().check_action(action, parameters)

    def why_not(self, action: str) -> str:
        session = self.session
        if action == "undo" and (session is None or session.last is None):
            begun = self._ballot is not None and bool(self._ballot.tiers)
            return "Nothing has been decided yet." + (" Backspace takes the last letter back." if begun else "")
        if action == "reveal" and (session is None or session.last is None):
            return "Origins are shown only after the vote."
        if action == "train" and self.new_pairs == 0 and session is not None and not session.decisions.done:
            return "There are no pairs yet: every vote for a side makes one."
        return ""
