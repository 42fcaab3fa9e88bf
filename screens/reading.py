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
    ]

    def action_read(self, pages: int) -> None:
        text = self.query_one(self.READS, VerticalScroll)
        text.scroll_relative(y=pages * max(1, text.size.height - 1), animate=False)
