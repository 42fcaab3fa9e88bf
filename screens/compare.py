"""Compare: an exported file and the run it was made from answer the same prompts, side by side, nobody told which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from screens.base import BenchScreen
from screens.safe import line, one_line, plain
from screens.widgets.panel import Empty, Panel
from workbench.blind import Comparison, Heard, Vote
from workbench.errors import WorkbenchError
from workbench.exported import Part


@dataclass
class Progressed(Message):
    """The models have got so far, in words."""

    said: str


@dataclass
class AllAnswered(Message):
    """Both have answered everything, or could not."""

    error: WorkbenchError | None = None


class CompareScreen(BenchScreen):
    """Hear whether the file is worse than what you trained."""

    PLACE = "export"
    CSS_PATH = "compare.tcss"
    SAYS_NEXT_STEP = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "vote('left')", "left better", id="compare.left", tooltip="The answer on the left is better."),
        Binding("2", "vote('right')", "right better", id="compare.right", tooltip="The answer on the right is better."),
        Binding("3", "vote('alike')", "alike", id="compare.alike", tooltip="Neither answer is better."),
        Binding("u", "undo", "undo", id="compare.undo", tooltip="Take the last vote back."),
    ]

    def __init__(self, part: Part) -> None:
        super().__init__()
        self._part = part
        self._comparison: Comparison | None = None
        self._ready = False

    def content(self) -> ComposeResult:
        yield Static(id="compare-question")
        with Horizontal(id="compare-sides"):
            with Panel(title="1 left", id="compare-left"), VerticalScroll():
                yield Static()
            with Panel(title="2 right", id="compare-right"), VerticalScroll():
                yield Static()
        yield Empty("", id="compare-outcome")

    def on_mount(self) -> None:
        self.query_one(Empty).display = False
        self._comparison = Comparison(self.bench, self._part)
        self._show()
        if self._comparison.questions:
            self._ask(self._comparison)

    def on_unmount(self) -> None:
        if self._comparison is not None:
            self._comparison.close()

    @work(thread=True, exclusive=True, group="compare")
    def _ask(self, comparison: Comparison) -> None:
        worker = get_current_worker()
        try:
            for said in comparison.answers():
                if worker.is_cancelled:
                    return
                self.post_message(Progressed(said))
        except WorkbenchError as error:
            self.post_message(AllAnswered(error))
            return
        self.post_message(AllAnswered())

    def on_progressed(self, message: Progressed) -> None:
        self._say(f"{message.said}…")

    def on_all_answered(self, message: AllAnswered) -> None:
        if message.error is not None:
            self.show_error(message.error)
            self._end("There is nothing to compare.")
            return
        self._ready = True
        if self._comparison is not None and not self._comparison.to_judge:
            self._comparison.store()
        self._show()

    # -- voting

    def why_not(self, action: str) -> str:
        comparison = self._comparison
        if comparison is None or not self._ready:
            return "The models are still answering."
        if action == "vote" and comparison.next is None:
            return "Everything has been judged."
        if action == "undo" and all(question.vote is None for question in comparison.to_judge):
            return "There is no vote yet."
        return ""

    def action_vote(self, vote: Vote) -> None:
        if self._comparison is not None:
            self._comparison.vote(vote)
            self._show()

    def action_undo(self) -> None:
        if self._comparison is not None:
            self._comparison.undo()
            self._show()

    # -- drawing

    def _say(self, text: str) -> None:
        self.query_one("#compare-question", Static).update(line(text, "$quiet", limit=400))

    def _outcome(self, heard: Heard) -> str:
        """What came of it: whether there was a difference to hear at all, and whose answers were better."""
        file, run = self._part.path.name, f"run {self._part.run}"
        if heard.same == heard.count:
            return f"{file} answers like {run}: all {heard.count} answers are the same word for word, none to judge."
        return f"{file} and {run}, {heard.sentence}."

    def _end(self, outcome: str) -> None:
        """What came of it in the panels' place, with the way back; the panels again where nothing did yet."""
        self.query_one("#compare-sides").display = not outcome
        said = self.query_one(Empty)
        said.display = bool(outcome)
        said.say(one_line(outcome, 400), "esc", "to go back to the exports")
        if outcome:
            self._say("")

    def _show(self) -> None:
        """The next two answers, or what came of it all."""
        comparison = self._comparison
        if comparison is None or not comparison.questions:
            self._end("The project has no prompts to compare on: press 3 and import some.")
        elif self._ready:
            self._show_question(comparison)
        self.refresh_bindings()

    def _show_question(self, comparison: Comparison) -> None:
        question = comparison.next
        sides = ("", "") if question is None else question.sides
        for place, text in zip(("left", "right"), sides, strict=True):
            self.query_one(f"#compare-{place} Static", Static).update(plain(text))
        self._end("" if question is not None else self._outcome(comparison.heard))
        if question is None:
            return
        judged = sum(other.vote is not None for other in comparison.to_judge)
        said = f"{judged + 1} of {len(comparison.to_judge)} that differ · {question.turns[-1].content}"
        self.query_one("#compare-question", Static).update(line(said, "$strong", limit=400))
