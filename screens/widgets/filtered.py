"""A list with a filter line: `/` opens it, typing narrows the list, enter goes back to the rows, esc clears it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from screens.widgets.records import Records

R = TypeVar("R")
T = TypeVar("T")


class FilterLine(Input):
    """The line itself; esc clears and leaves it, enter and the down arrow go to the rows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear_filter", "show all", id="filter.clear", tooltip="Show all rows again."),
        Binding("enter", "enter", "to the rows", show=False, id="filter.enter", tooltip="Go to the rows, or pick one."),
        Binding("down", "to_rows", "to the rows", id="filter.rows", tooltip="Go to the rows that are left."),
    ]

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """The slash is written as well, though Textual does not know the letter of that name."""
        return key == "slash" or super().check_consume_key(key, character)

    def action_clear_filter(self) -> None:
        self.value = ""
        self.action_to_rows()

    def action_enter(self) -> None:
        if isinstance(self.parent, Filtered) and self.parent.picks:
            self.parent.rows.action_choose()
        else:
            self.action_to_rows()

    def action_to_rows(self) -> None:
        if isinstance(self.parent, Filtered):
            self.parent.close_filter()


class Filtered(Vertical, Generic[R]):
    """A `Records` list, what it shows while empty, and a filter line that appears with `/`.

    With `matches` the list filters what it holds; without, it posts `FilterChanged` and the screen asks the store.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "slash",
            "filter",
            "filter",
            key_display="/",
            id="list.filter",
            tooltip="Show only rows with a text in them.",
        ),
    ]

    class FilterChanged(Message, Generic[T]):
        """The person typed another filter."""

        def __init__(self, filtered: Filtered[T], text: str) -> None:
            super().__init__()
            self.filtered = filtered
            self.text = text

        @property
        def control(self) -> Filtered[T]:
            return self.filtered

    def __init__(
        self,
        rows: Records[R],
        *,
        empty: Widget,
        matches: Callable[[R], str] | None = None,
        picks: bool = False,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.rows = rows
        self._empty = empty
        self._matches = matches
        self.picks = picks
        """Whether enter picks the highlighted row while the filter is still written."""
        self._all: Sequence[R] = ()
        self._line = FilterLine(placeholder="type to filter", compact=True)

    def compose(self) -> ComposeResult:
        self._line.display = False
        self._empty.display = False
        yield self._line
        yield self.rows
        yield self._empty

    @property
    def text(self) -> str:
        return self._line.value

    def show(self, records: Sequence[R]) -> None:
        """Another list of records, filtered as before."""
        self._all = records
        self._refill()

    def action_filter(self) -> None:
        self._line.display = True
        self._line.focus()

    def close_filter(self) -> None:
        self._line.display = bool(self._line.value)
        self.rows.focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._matches is None:
            self.post_message(self.FilterChanged(self, event.value))
        else:
            self._refill()

    def _refill(self) -> None:
        wanted = self._line.value.lower()
        if wanted and self._matches is not None:
            self.rows.records = [record for record in self._all if wanted in self._matches(record).lower()]
        else:
            self.rows.records = self._all
        nothing_at_all = not self._all and not self._line.value
        self._empty.display = nothing_at_all
        self.rows.display = not nothing_at_all
