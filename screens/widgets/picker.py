"""A small list over the screen to pick one thing from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from screens.safe import line
from screens.widgets.filtered import Filtered
from screens.widgets.records import Column, Records


class Picker(ModalScreen[str | None]):
    """Gives back the picked text, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "leave", id="picker.leave", tooltip="Go back without picking."),
    ]

    def __init__(
        self, title: str, choices: Sequence[str], chosen: str = "", about: Mapping[str, str] | None = None
    ) -> None:
        """`about` says a word of choices whose names say little."""
        super().__init__()
        self._title = title
        self._choices = tuple(choices)
        self._chosen = chosen
        self._about = about or {}

    def compose(self) -> ComposeResult:
        rows: Records[str] = Records(
            (Column("", max(map(len, self._choices), default=1)), Column("")) if self._about else (Column(""),),
            self._cells,
            header=False,
        )
        with Vertical(id="sheet", classes="picker") as sheet:
            sheet.border_title = line(f" {self._title} ")
            sheet.border_subtitle = Content(" enter picks · / filters · esc back ")
            yield Filtered(rows, empty=Static("Nothing to pick from."), matches=self._words, picks=True)

    def _words(self, choice: str) -> str:
        return f"{choice} {self._about.get(choice, '')}"

    def _cells(self, choice: str) -> tuple[Content, ...]:
        about = (line(self._about.get(choice, ""), "$quiet"),) if self._about else ()
        return (line(choice), *about)

    def on_mount(self) -> None:
        self.query_one(Vertical).styles.height = min(len(self._choices), 14) + 4
        self.query_one(Filtered).show(self._choices)
        rows = self.query_one(Records)
        rows.select(self._chosen)
        rows.focus()

    @on(Records.Chosen)
    def _pick(self, message: Records.Chosen[str]) -> None:
        self.dismiss(message.record)

    def action_cancel(self) -> None:
        self.dismiss(None)
