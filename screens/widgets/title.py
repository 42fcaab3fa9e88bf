"""The title row: the project, its base, and the screens with their digits, the current one marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from screens.safe import one_line

WIDE_COLUMNS = 112
"""From here project and base fit before the tabs; below it the status row shows them."""

NAMED_COLUMNS = 79
"""From here every tab fits with its name; below it only the current one has one."""


@dataclass(frozen=True)
class Tab:
    """One screen as the title row shows it."""

    mode: str
    key: str
    label: str


class TitleRow(Widget, can_focus=False):
    """One row. Clicking a tab opens its screen."""

    ALLOW_SELECT = False
    current: reactive[str] = reactive("")
    project: reactive[str] = reactive("")
    base: reactive[str] = reactive("")

    def __init__(self, tabs: Sequence[Tab], current: str) -> None:
        super().__init__()
        self.auto_links = False  # tabs are links to our own action; underlining them would be noise
        self._tabs = tabs
        self.set_reactive(TitleRow.current, current)

    def render(self) -> Content:
        width = self.size.width
        tabs = Content.assemble(*(self._tab(tab, named=width >= NAMED_COLUMNS) for tab in self._tabs))
        if width < WIDE_COLUMNS:
            return tabs
        room = width - tabs.cell_length - 4
        project = Content.assemble(
            (f" {one_line(self.project, 40)} ", "bold $strong"), (f"· {one_line(self.base, 60)}", "$quiet")
        ).truncate(room, ellipsis=True)
        return project + " " * (width - project.cell_length - tabs.cell_length - 1) + tabs

    def _tab(self, tab: Tab, *, named: bool) -> Content:
        chosen = tab.mode == self.current
        label = f" {tab.label}" if named or chosen else ""
        style = "bold $strong on $cursor-line" if chosen else "$quiet"
        key_style = "bold $accent on $cursor-line" if chosen else "$primary"
        piece = Content.assemble((f" {tab.key}", key_style), (f"{label} ", style))
        return piece.stylize(
            Style.from_meta({"@click": f"app.go('{tab.mode}')"})
        )  # our own constant, never outside text
