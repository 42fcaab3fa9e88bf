"""One side of a chat: the turns as they were said, the answer as it comes, and the figures of the last one."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from screens.safe import line, plain
from screens.widgets.facts import Facts
from screens.widgets.panel import Panel
from workbench.records import Turn
from workbench.session import Answered

WELCOME = "\nAsk it something. Its first answer takes a few seconds longer, while the model is loaded."


class TalkPane(Panel):
    """A model's side. The screen hands it turns, the growing answer, and sentences; it decides nothing."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="talk")
        self._answer: Static | None = None

    def compose(self) -> ComposeResult:
        yield VerticalScroll(classes="talk-turns")

    @property
    def _turns(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)

    def name_model(self, label: str, state: str = "") -> None:
        """The model's name in the frame, with a word on what it does: above, as a small terminal has no frame below."""
        said = Content(" · ") + line(state) if state else Content("")
        self.border_title = Content(" ") + line(label) + said.stylize("$quiet") + " "

    def show_turns(self, turns: list[Turn]) -> None:
        """Another conversation in place of what was shown."""
        self._answer = None
        self._turns.remove_children()
        if turns:
            self._turns.mount_all([_turn(turn) for turn in turns])
        else:
            self._turns.mount(Static(Content.styled(WELCOME, "$quiet"), classes="said-by-model"))

    def ask(self, question: str) -> None:
        """The question, and room for the answer below it."""
        if not self._turns.query(".said-by-person"):
            self._turns.remove_children()
        self._answer = Static(Content.styled("…", "$quiet"), classes="said-by-model")
        self._turns.mount_all([_turn(Turn("user", question)), self._answer])
        self._turns.anchor()  # stays at the end while it grows, until the person scrolls up to read

    def wait(self, behind: str) -> None:
        """In the answer's place: who holds the card that the model is to be loaded on, if anybody does."""
        if self._answer is not None:
            told = f"waiting for the card, which {behind} holds; x gives up" if behind else "…"
            self._answer.update(line(told, "$quiet"))

    def grow(self, answer: str) -> None:
        """The answer so far."""
        if self._answer is not None:
            self._answer.update(plain(answer))

    def finish(self, answered: Answered | None) -> None:
        """The answer is whole: its figures below it."""
        if self._answer is None:
            return
        if answered is not None:
            self._turns.mount(Static(Content.styled(figures(answered), "$quiet"), classes="figures"))
        self._answer = None

    def fail(self, sentence: str) -> None:
        """Why there is no answer, in its place."""
        self._turns.mount(Static(line(sentence, "$error", limit=400), classes="figures"))
        self._answer = None


def figures(answered: Answered) -> str:
    """`42 tokens · 31 tokens/s · stopped by itself`."""
    ended = {"stop": "stopped by itself", "length": "cut at the longest answer", "cancelled": "stopped by you"}
    count = f"{answered.tokens} token{'' if answered.tokens == 1 else 's'}"
    return f"{count} · {answered.tokens_per_second:.0f} tokens/s · {ended.get(answered.finish, '')}"


def _turn(turn: Turn) -> Widget:
    if turn.role == "user":
        said = (Content.styled("› ", "bold $accent"), plain(turn.content, "$strong"))
        return Facts([said], columns=2, classes="said-by-person")
    return Static(plain(turn.content), classes="said-by-model")
