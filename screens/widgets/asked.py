"""What the model was asked: one line above the answers, or the whole conversation."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive

from screens.safe import line, plain
from screens.widgets.text_pane import TextPane
from workbench.records import Conversation

LINE_CHARACTERS = 600


class Asked(TextPane):
    """The last question in a row or three; `whole` shows every turn before it too."""

    turns: reactive[Conversation] = reactive(())
    whole: reactive[bool] = reactive(False)

    def watch_turns(self) -> None:
        self._say()

    def watch_whole(self, whole: bool) -> None:
        self.set_class(whole, "-whole")
        self._say()

    def _say(self) -> None:
        self.show(conversation(self.turns) if self.whole else self._short())

    def _short(self) -> Content:
        if not self.turns:
            return Content("")
        before = len(self.turns) - 1
        earlier = f"  +{before} before" if before else ""
        return Content.assemble(
            ("p", "bold $accent"),
            (" prompt  ", "$quiet"),
            line(self.turns[-1].content, "$strong", limit=LINE_CHARACTERS),
            (earlier, "$quiet"),
        )


def conversation(turns: Conversation) -> Content:
    """Every turn under its role's name."""
    parts = []
    for turn in turns:
        style = "bold $primary" if turn.role == "user" else "bold $quiet"
        parts.append(Content.assemble((f"{turn.role}\n", style), plain(turn.content)))
    return Content("\n\n").join(parts)
