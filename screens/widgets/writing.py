"""Where a person writes while ranking: a better answer in a text area, a note or a filter in a line."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, TextArea

MOVES = frozenset({"enter", "tab", "backspace", "up", "down", "left", "right", "home", "end", "pageup", "pagedown"})
"""Keys beside letters that writing needs."""


class BetterAnswer(TextArea):
    """A better answer. ctrl+d keeps it, esc leaves; enter is a line break, so that no half answer is kept."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+d", "keep", "keep", id="edit.keep", tooltip="Keep this answer: it beats the others.", priority=True
        ),
        # priority: a text area in which tab is text takes escape for itself otherwise
        Binding(
            "escape", "leave", "leave", id="edit.leave", tooltip="Back without keeping; the draft stays.", priority=True
        ),
    ]

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """The screen's own enter, arrows and paging are not for now, and not in the footer either."""
        return key in MOVES or super().check_consume_key(key, character)

    class Kept(Message):
        """The person is done writing."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """The person went back without keeping it."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str) -> None:
        super().__init__("", soft_wrap=True, tab_behavior="indent", compact=True, id=id)
        self.border_title = Content(" a better answer ")
        self.border_subtitle = Content(" ctrl+d keep · esc leave ")

    def on_mount(self) -> None:
        self.display = False

    def open(self, text: str) -> None:
        """Shows the text area with a text to start from and takes the keys."""
        self.text = text
        self.display = True
        self.focus()
        self.move_cursor(self.document.end)

    def close(self) -> None:
        self.display = False
        self.screen.set_focus(None)

    def action_keep(self) -> None:
        self.post_message(self.Kept(self.text))

    def action_leave(self) -> None:
        self.post_message(self.Left(self.text))


class WrittenLine(Input):
    """A note or a filter: enter keeps it, esc leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "keep", id="line.keep", tooltip="Keep what is written."),
        Binding("escape", "leave", "leave", id="line.leave", tooltip="Back to the answers."),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(compact=True, id=id)
        self.purpose = ""

    def on_mount(self) -> None:
        self.display = False

    def open(self, purpose: str, placeholder: str, text: str = "") -> None:
        """Asks for a line; `purpose` says what it is for when it is submitted."""
        self.purpose, self.placeholder, self.value = purpose, placeholder, text
        self.display = True
        self.focus()

    def close(self) -> None:
        self.display = False
        self.screen.set_focus(None)

    def action_leave(self) -> None:
        self.close()
