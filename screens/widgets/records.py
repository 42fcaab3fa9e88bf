"""A list of records with columns: the one list of the whole app, so that its keys are the same everywhere.

Drawn line by line, so a hundred thousand rows cost as much as the forty that are seen. Cells are Content (made by
`screens.safe`) or our own constant words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Literal, TypeVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

R = TypeVar("R")
T = TypeVar("T")
Cell = Content | str


@dataclass(frozen=True)
class Column:
    """A column: `width` cells, or 0 for its `share` of what is left. It is left out where the list is too narrow."""

    label: str
    width: int = 0
    align: Literal["left", "right"] = "left"
    from_width: int = 0
    """The narrowest list that it is shown in."""
    share: int = 1


class Records(ScrollView, Generic[R], can_focus=True):
    """Rows under a header, one of them highlighted. `j k g G`, arrows, paging and the mouse move; enter chooses."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "next", show=False, id="list.down", tooltip="Go one row down."),
        Binding("up,k", "move(-1)", "previous", show=False, id="list.up", tooltip="Go one row up."),
        Binding("g,home", "first", "first", show=False, id="list.first", tooltip="Go to the first row."),
        Binding("G,end", "last", "last", show=False, id="list.last", tooltip="Go to the last row."),
        Binding("pagedown,ctrl+d", "page(1)", "page down", show=False, id="list.page_down", tooltip="Go a page down."),
        Binding("pageup,ctrl+u", "page(-1)", "page up", show=False, id="list.page_up", tooltip="Go a page up."),
        Binding("enter", "choose", "choose", show=False, id="list.choose", tooltip="Choose the highlighted row."),
    ]

    cursor: reactive[int] = reactive(0)

    class Highlighted(Message, Generic[T]):
        """The cursor is on another record, or the record under it has changed; None when the list is empty."""

        def __init__(self, records: Records[T], record: T | None) -> None:
            super().__init__()
            self.records = records
            self.record = record

        @property
        def control(self) -> Records[T]:
            return self.records

    class Chosen(Message, Generic[T]):
        """Enter, or a click on the highlighted row."""

        def __init__(self, records: Records[T], record: T) -> None:
            super().__init__()
            self.records = records
            self.record = record

        @property
        def control(self) -> Records[T]:
            return self.records

    def __init__(
        self,
        columns: Sequence[Column],
        cells: Callable[[R], Sequence[Cell]],
        *,
        key: Callable[[R], object] = lambda record: record,
        header: bool = True,
        enter: tuple[str, str] = ("", ""),
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._header = int(header)
        if enter[0]:
            self._name_enter(*enter)
        self._columns = tuple(columns)
        self._cells = cells
        self._key = key
        self._records: Sequence[R] = ()
        self._drawn: dict[tuple[int, bool, bool, int], Strip] = {}

    def _name_enter(self, description: str, tooltip: str) -> None:
        """Shows enter in the footer under the name of what it does in this list."""
        bindings = self._bindings.key_to_bindings
        bindings["enter"] = [
            replace(binding, description=description, tooltip=tooltip, show=True) for binding in bindings["enter"]
        ]

    # -- what it holds

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._columns

    @columns.setter
    def columns(self, columns: Sequence[Column]) -> None:
        """The same columns with other widths."""
        self._columns = tuple(columns)
        self._measure()

    @property
    def records(self) -> Sequence[R]:
        return self._records

    @records.setter
    def records(self, records: Sequence[R]) -> None:
        """Another list. The cursor stays on the same record where that is still there."""
        before = self.record
        was_empty, self._records = not self._records, records
        if was_empty == bool(records) and self.is_attached:
            self.refresh_bindings()  # enter is greyed while there is nothing
        keys = [self._key(record) for record in records] if before is not None else []
        kept = self._key(before) if before is not None else None
        place = keys.index(kept) if kept in keys else min(self.cursor, max(0, len(records) - 1))
        self._measure()
        self.cursor = place
        self._show_cursor()
        self.post_message(self.Highlighted(self, self.record))

    @property
    def record(self) -> R | None:
        """The highlighted record."""
        return self._records[self.cursor] if 0 <= self.cursor < len(self._records) else None

    def select(self, key: object) -> None:
        """Puts the cursor on the record with that key, if it is there."""
        for place, record in enumerate(self._records):
            if self._key(record) == key:
                self.cursor = place
                return

    # -- keys and mouse

    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, len(self._records) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        self._show_cursor()
        self.refresh()
        if old != new:
            self.post_message(self.Highlighted(self, self.record))

    def action_move(self, rows: int) -> None:
        self.cursor += rows

    def action_page(self, pages: int) -> None:
        self.cursor += pages * max(1, self.scrollable_content_region.height - 2)

    def action_first(self) -> None:
        self.cursor = 0

    def action_last(self) -> None:
        self.cursor = len(self._records) - 1

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enter is greyed while there is nothing to choose."""
        return None if action == "choose" and self.record is None else True

    def action_choose(self) -> None:
        if self.record is not None:
            self.post_message(self.Chosen(self, self.record))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or offset.y < self._header:
            return
        row = offset.y - self._header + self.scroll_offset.y
        if row == self.cursor:
            self.action_choose()
        elif row < len(self._records):
            self.cursor = row

    # -- drawing

    def on_resize(self) -> None:
        self._measure()
        self._show_cursor()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()

    def _measure(self) -> None:
        self._drawn.clear()
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._records) + self._header)
        self.refresh()

    def _show_cursor(self) -> None:
        """Scrolls so that the cursor is seen. The header covers the first line of the view, so it counts as hidden."""
        height = self.scrollable_content_region.height - self._header
        if height < 1:
            return
        top = self.scroll_offset.y
        wanted = min(max(top, self.cursor - height + 1), self.cursor)
        if wanted != top:
            self.scroll_to(y=wanted, animate=False, force=True, immediate=True)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        row = y - self._header + self.scroll_offset.y if y >= self._header else -1
        if row >= len(self._records):
            return Strip.blank(width, self.rich_style)
        drawn = (row, row == self.cursor, self.has_focus, width)
        if drawn not in self._drawn:
            if len(self._drawn) > 500:  # a few screens of rows; scrolling through many must not keep them all
                self._drawn.clear()
            self._drawn[drawn] = self._draw(row, width)
        return self._drawn[drawn]

    def _draw(self, row: int, width: int) -> Strip:
        if row < 0:
            cells: Sequence[Cell] = [Content.styled(column.label, "$quiet") for column in self._columns]
            text = Content("  ") + self._row(cells, width - 3)
        else:
            chosen = row == self.cursor
            mark = Content.styled("▌ ", "$accent" if self.has_focus else "$quiet") if chosen else Content("  ")
            text = mark + self._row(self._cells(self._records[row]), width - 3)
            if chosen:
                text = (text + " " * (width - text.cell_length)).stylize_before(
                    "$strong on $cursor-line" if self.has_focus else "on $cursor-line-blurred"
                )
        strips = Visual.to_strips(self, text.truncate(width), width, 1, self.visual_style, pad=True)
        return strips[0]

    def _row(self, cells: Sequence[Cell], width: int) -> Content:
        """The cells of one row, each cut or padded to its column, two spaces between them."""
        shown = [
            (column, cell) for column, cell in zip(self._columns, cells, strict=True) if width >= column.from_width
        ]
        fixed = sum(column.width for column, _ in shown) + 2 * (len(shown) - 1)
        shares = sum(column.share for column, _ in shown if not column.width)
        parts = [
            _fitted(cell, column.width or max(4, (width - fixed) * column.share // shares), column.align)
            for column, cell in shown
        ]
        return Content("  ").join(parts)

    def get_content_region(self) -> Region:
        return self.scrollable_content_region


def _fitted(cell: Cell, width: int, align: str) -> Content:
    content = cell if isinstance(cell, Content) else Content(cell)
    content = content.truncate(width, ellipsis=True)
    gap = width - content.cell_length
    return content.pad_left(gap) if align == "right" else content.pad_right(gap)
