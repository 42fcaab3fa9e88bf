"""Chat: talk with a run, the base or an exported file; two models side by side answer the same prompt."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input
from textual.worker import get_current_worker

from screens.base import BenchScreen
from screens.widgets.picker import Picker
from screens.widgets.talk import TalkPane
from workbench.conversation import Manner, Talk, described, models
from workbench.errors import WorkbenchError
from workbench.session import Answered, ModelRef
from workbench.tags import parse

REDRAW_SECONDS = 0.1
"""A streamed answer is redrawn ten times a second: more cannot be read and costs a slow terminal dearly."""

LINE_BREAK = "⏎"
"""Stands for a line break in the line to write in, which is one row."""

NO_TAGS = "no tags"

TEMPERATURES = (0.0, 0.3, 0.7, 1.0, 1.3)


@dataclass
class Grown(Message):
    """More of a side's answer has come."""

    side: int
    answer: str


@dataclass
class Answer(Message):
    """A side's answer is whole, or has ended in an error."""

    side: int
    answer: str
    answered: Answered | None = None
    error: WorkbenchError | None = None


@dataclass
class Waits(Message):
    """A side's model waits for the card, which `behind` holds; with an empty text it waits no more."""

    side: int
    behind: str


class ChatLine(Input):
    """Where a person writes; enter sends, esc frees the keys. Line breaks come by pasting, and are seen as a sign."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "send", id="chat.send", tooltip="Send what you wrote."),
        Binding("escape", "screen.leave", "to the keys", id="chat.keys", tooltip="Leave the line for the other keys."),
    ]

    @property
    def question(self) -> str:
        """What was written, its line breaks as such."""
        return self.value.replace(LINE_BREAK, "\n").strip()

    @question.setter
    def question(self, question: str) -> None:
        self.value = question.replace("\n", LINE_BREAK)

    def _on_paste(self, event: events.Paste) -> None:
        """All lines of what is pasted: the widget's own way drops every line but the first without a word."""
        event.prevent_default()
        event.stop()
        pasted = LINE_BREAK.join(event.text.strip("\r\n").splitlines())
        self.replace(pasted, *self.selection)


class ChatScreen(BenchScreen):
    """Try what was trained."""

    PLACE = "chat"
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "#chat-line"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i,enter", "write", "write", id="chat.write", tooltip="Write to the model."),
        Binding("m", "model", "model", id="chat.model", tooltip="Choose the model on the left."),
        Binding("b", "beside", "beside", id="chat.beside", tooltip="Let a second model answer the same prompts."),
        Binding("n", "new", "new", id="chat.new", tooltip="Begin a new conversation; the model stays warm."),
        Binding("t", "temperature", "temperature", id="chat.temperature", tooltip="Draw answers more or less freely."),
        Binding("g", "tags", "tags", show=False, id="chat.tags", tooltip="Ask for answers with a tag: quality=high."),
        Binding("x", "stop", "stop", id="chat.stop", tooltip="End the answer; what has come of it stays."),
        Binding("j,down", "scroll(1)", "down", show=False, id="chat.down", tooltip="Scroll down."),
        Binding("k,up", "scroll(-1)", "up", show=False, id="chat.up", tooltip="Scroll up."),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._talks: list[Talk | None] = [None, None]
        self._manner = Manner()
        self._answering: set[int] = set()
        self._asked = ""
        self._tags: list[str] = []

    def content(self) -> ComposeResult:
        with Horizontal(id="chat-sides"):
            yield TalkPane(id="chat-0")
            yield TalkPane(id="chat-1")
        yield ChatLine(id="chat-line", placeholder="Write to the model")

    def on_mount(self) -> None:
        self.query_one("#chat-1").display = False
        self._show_names()

    def reload(self) -> None:
        self._tags = [f"{n}={value}" for n, values in self.bench.store.tag_values().items() for value in values]
        if self._talks[0] is None:
            self.take(models(self.bench)[0])

    def on_unmount(self) -> None:
        for talk in self._talks:
            if talk is not None:
                talk.close()

    # -- models

    def choose_source(self, model: str) -> None:
        """Talks with a run, by its id, or with a GGUF file, by its path; what is typed next goes to it."""
        self.take(ModelRef("gguf" if model.endswith(".gguf") else "run", model))
        self.action_write()

    def take(self, ref: ModelRef, side: int = 0) -> None:
        """That side talks with another model from here on, in a new conversation."""
        before = self._talks[side]
        if before is not None and before.ref == ref:
            return
        if before is not None:
            before.become(ref)
        else:
            self._talks[side] = Talk.with_model(self.bench, ref, partial(self._hear, side))
        self._pane(side).show_turns([])
        self._show_names()
        self.refresh_bindings()

    def _pane(self, side: int) -> TalkPane:
        return self.query_one(f"#chat-{side}", TalkPane)

    def _show_names(self) -> None:
        for side, talk in enumerate(self._talks):
            if talk is not None:
                asked = f"temperature {self._manner.temperature:g}"
                asked += f" · {self._manner.tags}" if self._manner.tags else ""
                asked += " · in 4 bits, for want of memory" if talk.in_four_bits else ""
                state = "answering" if side in self._answering else asked
                self._pane(side).name_model(described(self.bench, talk.ref), state)

    @work
    async def _pick(self, side: int) -> None:
        found = {described(self.bench, ref): ref for ref in models(self.bench)}
        now, other = self._talks[side], self._talks[1 - side]
        taken = described(self.bench, other.ref) if other is not None else ""
        chosen = described(self.bench, now.ref) if now is not None else next((n for n in found if n != taken), "")
        title = f"beside {taken}, talk with" if side else "talk with"
        picked = await self.app.push_screen_wait(Picker(title, list(found), chosen))
        if picked is not None:
            self._pane(side).display = True
            self.take(found[picked], side)

    # -- keys

    def why_not(self, action: str) -> str:
        if action == "stop" and not self._answering:
            return "Nothing is being answered."
        if action == "tags" and not self._tags:
            return "No demonstration of this project has tags."
        if action in ("model", "beside", "new") and self._answering:
            return "An answer is on its way: press x to end it first."
        return ""

    def action_write(self) -> None:
        self.query_one("#chat-line").focus()

    def action_model(self) -> None:
        self._pick(0)

    def action_beside(self) -> None:
        """Opens the second side, or closes it again."""
        pane = self._pane(1)
        if not pane.display:
            self._pick(1)
            return
        talk, self._talks[1] = self._talks[1], None
        if talk is not None:
            talk.close()
        pane.display = False

    def action_new(self) -> None:
        for side, talk in enumerate(self._talks):
            if talk is not None:
                talk.forget()
                self._pane(side).show_turns([])
        self.action_write()

    def action_temperature(self) -> None:
        place = TEMPERATURES.index(self._manner.temperature) if self._manner.temperature in TEMPERATURES else 0
        warmer = TEMPERATURES[(place + 1) % len(TEMPERATURES)]
        self._manner = replace(self._manner, temperature=warmer)
        self._show_names()

    @work
    async def action_tags(self) -> None:
        """A tag more in the control prefix of the next questions, or none at all."""
        known = parse(self._manner.tags)
        picked = await self.app.push_screen_wait(Picker("ask for answers with", [NO_TAGS, *self._tags]))
        if picked is not None:
            wished = {} if picked == NO_TAGS else known | parse(picked)
            self._manner = replace(self._manner, tags=", ".join(f"{n}={value}" for n, value in wished.items()))
            self._show_names()

    def action_stop(self) -> None:
        for side in self._answering:
            talk = self._talks[side]
            if talk is not None:
                talk.cancel()

    def action_scroll(self, by: int) -> None:
        for side in range(len(self._talks)):
            self._pane(side).query_one(".talk-turns").scroll_relative(y=3 * by, animate=False)

    # -- asking

    @on(Input.Submitted, "#chat-line")
    def _send(self, event: Input.Submitted) -> None:
        question = self.query_one(ChatLine).question
        if not question:
            return
        if self._answering:
            self.notice("An answer is on its way; it can be ended with esc, then x.")
            return
        event.input.clear()
        self._asked = question
        self.notice("")  # an error was about the question before
        for side, talk in enumerate(self._talks):
            if talk is not None:
                self._answering.add(side)
                self._pane(side).ask(question)
                talk.begin()
                self._answer(side, talk, question, self._manner)
        self._show_names()
        self.refresh_bindings()

    @work(thread=True, group="answer")
    def _answer(self, side: int, talk: Talk, question: str, manner: Manner) -> None:
        """Streams one side's answer into messages, a few a second."""
        worker = get_current_worker()
        answer, drawn = "", 0.0
        try:
            for piece in talk.say(question, manner):
                answer += piece
                if worker.is_cancelled:
                    talk.cancel()
                    return
                if time.monotonic() - drawn > REDRAW_SECONDS:
                    drawn = time.monotonic()
                    self.post_message(Grown(side, answer))
        except WorkbenchError as error:
            self.post_message(Answer(side, answer, error=error))
            return
        self.post_message(Answer(side, answer, talk.answered))

    def _hear(self, side: int, behind: str) -> None:
        self.post_message(Waits(side, behind))

    def on_waits(self, message: Waits) -> None:
        self._pane(message.side).wait(message.behind)

    def on_grown(self, message: Grown) -> None:
        self._pane(message.side).grow(message.answer)

    def on_answer(self, message: Answer) -> None:
        self._answering.discard(message.side)
        pane = self._pane(message.side)
        pane.grow(message.answer)
        if message.error is not None:
            pane.fail(str(message.error))
            self.show_error(message.error)
            written = self.query_one(ChatLine)
            if not message.answer and not written.value:  # it was not asked: nobody should have to write it again
                written.question = self._asked
        else:
            pane.finish(message.answered)
        self._show_names()
        self.refresh_bindings()
