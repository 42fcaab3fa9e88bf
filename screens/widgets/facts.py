"""Names and values in two columns, long values wrapped under themselves."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget

NAME_COLUMNS = 14

Fact = tuple[str, Content]


class Facts(Widget, can_focus=False):
    """A name of "" gives its value the whole width."""

    DEFAULT_CSS = "Facts { height: auto; width: 1fr; }"
    facts: reactive[Sequence[Fact]] = reactive(tuple, layout=True)

    def render(self) -> Content:
        return Content("\n").join(self._lines(self.content_size.width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def _lines(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for name, value in self.facts:
            indent = NAME_COLUMNS if name else 0
            wrapped = value.wrap(max(8, width - indent)) or [Content("")]
            lines.append(Content.styled(name.ljust(indent), "$quiet") + wrapped[0])
            lines += [Content(" " * indent) + line for line in wrapped[1:]]
        return lines
