"""A list with a text about the highlighted row beside it: the keys that scroll the text while the list has the rest."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from screens.base import BenchScreen


class ReadingScreen(BenchScreen):
    """Subclasses name the `VerticalScroll` that holds the text."""

    READS: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+f", "read(1)", "read on", show=False, id="read.on", tooltip="Scroll the text beside the list."),
        Binding("ctrl+y", "read(-1)", "read back", show=False, id="read.back", tooltip="Scroll that text back."),
        # a list that has the keys takes these for itself
        Binding("j,down", "read_line(1)", "down", show=False, id="read.down", tooltip="Scroll the text one line down."),
        Binding("k,up", "read_line(-1)", "up", show=False, id="read.up", tooltip="Scroll the text one line up."),
    ]

    @property
    def text(self) -> VerticalScroll:
        """What is read."""
        return self.query_one(self.READS, VerticalScroll)

    def action_read(self, pages: int) -> None:
        self.action_read_line(pages * max(1, self.text.size.height - 1))

    def action_read_line(self, lines: int) -> None:
        self.text.scroll_relative(y=lines, animate=False)
