"""The only way that text from models, data sets, files and errors reaches a widget.

`clean` (the engine's) makes control characters visible; `plain` and `rich_plain` also defuse markup, which some
Textual widgets parse wherever they get a bare string. `ControlGuard` is the last line of defence behind both.
"""

from __future__ import annotations

import re

from rich.segment import Segment
from rich.text import Text
from textual.color import Color
from textual.content import Content
from textual.filter import LineFilter
from textual.style import Style

from workbench.text import SHOWN_CHARACTERS, clean, one_line

__all__ = ["ControlGuard", "clean", "line", "one_line", "plain", "rich_plain"]

_ANY_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def plain(text: str, style: str | Style = "", *, limit: int = SHOWN_CHARACTERS, hidden: bool = True) -> Content:
    """Outside text as Content: shown letter for letter, never parsed as markup."""
    return Content.styled(clean(text, limit, hidden), style) if style else Content(clean(text, limit, hidden))


def line(text: str, style: str | Style = "", *, limit: int = 200) -> Content:
    """`plain` for one row: line breaks and tabs become spaces."""
    return Content.styled(one_line(text, limit), style) if style else Content(one_line(text, limit))


def rich_plain(text: str, style: str = "", *, limit: int = SHOWN_CHARACTERS) -> Text:
    """Outside text for DataTable, Tree and RichLog, where Content is not understood."""
    return Text(clean(text, limit), style=style)


class ControlGuard(LineFilter):
    """Nothing a widget renders may carry a control character: the last check before the terminal."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(_ANY_CONTROL.sub("\ufffd", segment.text), segment.style, segment.control)
            if not segment.control and _ANY_CONTROL.search(segment.text)
            else segment
            for segment in segments
        ]
