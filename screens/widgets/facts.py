"""Names and values in two columns, long values wrapped under themselves."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget

NAME_COLUMNS = 14

Fact = tuple[str | Content, Content]


class Facts(Widget, can_focus=False):
    """A name of "" gives its value the whole width; names longer than their column push the first line only."""

    DEFAULT_CSS = "Facts { height: auto; width: 1fr; }"
    facts: reactive[Sequence[Fact]] = reactive(tuple, layout=True)

    def __init__(
        self,
        facts: Sequence[Fact] = (),
        *,
        columns: int = NAME_COLUMNS,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = columns
        self.set_reactive(Facts.facts, facts)

    def render(self) -> Content:
        return Content("\n").join(self._lines(self.content_size.width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def _lines(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for name, value in self.facts:
            indent = 0 if isinstance(name, str) and not name else self.columns
            head = Content.styled(name, "$quiet") if isinstance(name, str) else name
            head = head.pad_right(max(0, indent - head.cell_length))
            wrapped = value.wrap(max(8, width - max(indent, head.cell_length))) or [Content("")]
            lines.append(head + wrapped[0])
            lines += [Content(" " * indent) + line for line in wrapped[1:]]
        return lines
