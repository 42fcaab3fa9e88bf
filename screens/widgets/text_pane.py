"""A pane of wrapped text that scrolls without laying out the screen: another text costs one repaint of this pane.

Textual's scrolling containers lay the whole screen out whenever their text's height changes, which is most of the time
from a vote to the next pair. Here only the lines in view are drawn, and nothing else moves.
"""

from __future__ import annotations

from rich.markdown import Markdown
from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip
from textual.visual import Visual, visualize
from textual.widget import Widget

Body = Content | Markdown

WHEEL_LINES = 3


class TextPane(Widget, can_focus=False):
    """Shows a text from line `top` on. The sign `▼ more` is in the frame while there is text below."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "TextPane { height: 1fr; width: 1fr; border-subtitle-align: right; }"
    top: reactive[int] = reactive(0)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._body: Body = Content("")
        self._lines: list[Strip] = []
        self._wrapped_at = -1
        self._sign = ""
        self._blank = Strip([])
        self._seen: list[Strip] = []
        """The rows as they were last drawn: only those that differ are drawn again."""

    def show(self, body: Body, *, keep_place: bool = False) -> None:
        """Another text, from its start unless the place is to be kept."""
        self._body = body
        self._wrapped_at = -1
        if not keep_place:
            self.set_reactive(TextPane.top, 0)
        self._changed()

    @property
    def max_top(self) -> int:
        """The greatest `top`: the last line is then at the bottom."""
        return max(0, len(self._wrap()) - self.size.height)

    def validate_top(self, top: int) -> int:
        return max(0, min(top, self.max_top))

    def watch_top(self) -> None:
        self._changed()

    def on_resize(self) -> None:
        self.top = self.validate_top(self.top)
        self._seen = []
        self._changed()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._wrapped_at = -1
        self._seen = []

    def _changed(self) -> None:
        sign = " ▼ more " if self.top < self.max_top else ""
        if sign != self._sign:  # setting it draws the whole pane
            self._sign = sign
            self.border_subtitle = Content.styled(sign, "$accent")
        seen = [self._line(y) for y in range(self.size.height)]
        if len(seen) != len(self._seen):
            self.refresh()
        elif changed := [y for y, (old, new) in enumerate(zip(self._seen, seen, strict=True)) if old != new]:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))
        self._seen = seen

    def _wrap(self) -> list[Strip]:
        width = self.size.width
        if width != self._wrapped_at and width > 0:
            body = visualize(self, self._body, markup=False)
            self._lines = Visual.to_strips(self, body, width, None, self.visual_style, pad=True)
            self._blank = Strip.blank(width, self.rich_style)
            self._wrapped_at = width
        return self._lines

    def _line(self, y: int) -> Strip:
        lines = self._wrap()
        at = self.top + y
        return lines[at] if at < len(lines) else self._blank

    def render_line(self, y: int) -> Strip:
        return self._line(y)

    def render(self) -> RenderResult:
        return ""

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.top += WHEEL_LINES

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.top -= WHEEL_LINES
