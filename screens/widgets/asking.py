"""A one-line question that opens above a list: a path or a name, with tab completing paths."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

MOST_ENTRIES = 5_000
"""A folder with more entries is not completed: listing it takes longer than typing."""


class Paths(Suggester):
    """Suggests the rest of a path that exists."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return complete(value)


def complete(value: str) -> str | None:
    """The first entry that `value` begins, with a slash behind a folder; None where there is none."""
    if not value or ("/" not in value and not value.startswith("~")):
        return None
    folder_text, slash, start = value.rpartition("/")
    try:
        folder = Path(folder_text + slash).expanduser()
        entries = [entry for _, entry in zip(range(MOST_ENTRIES), folder.iterdir(), strict=False)]
    except (OSError, RuntimeError, ValueError):  # unreadable, no such user, or a NUL in it
        return None
    names = sorted(entry.name for entry in entries if entry.name.startswith(start) and (start or entry.name[0] != "."))
    if not names:
        return None
    return f"{folder_text}{slash}{names[0]}{'/' if (folder / names[0]).is_dir() else ''}"


class Ask(Input):
    """Hidden until `open`; enter submits, esc closes, tab takes the suggestion."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "leave it", id="ask.leave", tooltip="Close the question."),
        Binding("tab", "complete", "complete", id="ask.complete", tooltip="Take the suggested rest of the path."),
    ]

    class Closed(Message):
        """The person left the question without an answer."""

    def __init__(self, placeholder: str, *, id: str | None = None) -> None:
        super().__init__(placeholder=placeholder, suggester=Paths(), compact=True, id=id)

    def on_mount(self) -> None:
        self.display = False

    def open(self, text: str = "") -> None:
        """Shows the question and takes the keys."""
        self.value = text
        self.display = True
        self.focus()

    def close(self) -> None:
        """Hides the question; the list below gets the keys."""
        if self.display:
            self.display = False
            self.screen.focus_next("Records")

    def action_close(self) -> None:
        self.close()
        self.post_message(self.Closed())

    def action_complete(self) -> None:
        if self.cursor_at_end and self._suggestion:
            self.value = self._suggestion
            self.cursor_position = len(self.value)
