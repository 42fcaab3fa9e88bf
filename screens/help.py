"""The small screens over the others: every live key, an error in full, and the question before quitting."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from screens.active import ActiveRun
from screens.safe import plain
from screens.widgets.status import run_line
from workbench.errors import WorkbenchError


class Overlay(ModalScreen[None]):
    """A framed text over a screen; q, esc and enter close it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "close", id="overlay.close", tooltip="Go back to the screen."),
        Binding("j", "scroll(2)", "down", show=False, id="overlay.down", tooltip="Scroll down."),
        Binding("k", "scroll(-2)", "up", show=False, id="overlay.up", tooltip="Scroll up."),
    ]
    TITLE_TEXT: ClassVar[str] = ""
    FOOT_TEXT: ClassVar[str] = "esc back"

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet") as sheet:
            sheet.border_title = Content(f" {self.TITLE_TEXT} ")
            sheet.border_subtitle = Content(f" {self.FOOT_TEXT} ")
            with VerticalScroll(id="sheet-text"):
                yield from self.text()

    def text(self) -> ComposeResult:
        """What is in the frame."""
        yield from ()

    def action_close(self) -> None:
        self.dismiss()

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


class HelpScreen(Overlay):
    """Every key that works on the screen below, made from its live bindings, so it cannot be wrong."""

    TITLE_TEXT = "keys"

    def __init__(self, below: Screen[Any]) -> None:
        super().__init__()
        self.groups = grouped(below)

    def text(self) -> ComposeResult:
        for title, rows in self.groups:
            yield Static(Content.styled(title, "bold $primary"), classes="help-group")
            for keys, sentence, why in rows:
                label = Content.styled(keys.ljust(16), "$quiet" if why else "bold $accent")
                reason = Content.styled(f"  ({why})", "$quiet") if why else Content("")
                yield Static(Content.assemble("  ", label, " ", sentence, reason), classes="help-row")


Row = tuple[str, str, str]


def grouped(screen: Screen[Any]) -> list[tuple[str, list[Row]]]:
    """(title, [(keys, sentence, why not)]) of the live bindings: this screen's, the focused piece's, everywhere's."""
    titles = {"screen": "This screen", "focus": "In this list or field", "app": "Everywhere"}
    found: dict[str, dict[str, list[ActiveBinding]]] = {name: {} for name in titles}
    for active in screen.active_bindings.values():
        general = active.node is screen.app or not active.binding.id  # without an id it is one of Textual's own
        place = "app" if general else "screen" if active.node is screen else "focus"
        found[place].setdefault(active.binding.action, []).append(active)
    return [
        (titles[place], [_row(screen, same) for same in by_action.values()])
        for place, by_action in found.items()
        if by_action
    ]


def _row(screen: Screen[Any], same: list[ActiveBinding]) -> Row:
    first = same[0]
    keys = " ".join(screen.app.get_key_display(active.binding) for active in same)
    why_not = getattr(screen, "why_not", None)
    why = "" if first.enabled or why_not is None else why_not(first.binding.action.partition("(")[0])
    return keys, first.binding.tooltip or first.binding.description.capitalize(), why


class ErrorScreen(Overlay):
    """An error in full: what happened, and what to do next."""

    TITLE_TEXT = "what happened"

    def __init__(self, error: WorkbenchError) -> None:
        super().__init__()
        self._error = error

    def text(self) -> ComposeResult:
        yield Static(plain(self._error.message, "bold"))
        if self._error.hint:
            yield Static(Content.assemble(("\nWhat to do\n", "$primary"), plain(self._error.hint)))


class QuitScreen(Overlay):
    """Quitting with a run at work: it goes on without the app."""

    TITLE_TEXT = "quit"
    FOOT_TEXT = "enter quit · esc stay"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "quit_now", "quit", id="quit.yes", tooltip="Close the app; the run goes on."),
        Binding("escape,q,n", "close", "stay", id="quit.no", tooltip="Stay in the app."),
    ]

    def __init__(self, run: ActiveRun, project: str) -> None:
        super().__init__()
        self._run = run
        self._project = project

    def text(self) -> ComposeResult:
        word = "Training continues" if self._run.kind == "train" else "The run continues"
        yield Static(run_line(self._run))
        yield Static(Content.assemble((f"\n{word} ", "bold"), "when the app is closed; nothing is lost."))
        yield Static(
            Content.assemble(
                "To come back:  ",
                ("workbench ", "bold $accent"),
                plain(self._project, "bold $accent"),
                "\nTo follow it from a shell, in that folder:  ",
                (f"workbench watch {self._run.run_id}", "bold $accent"),
            )
        )

    def action_quit_now(self) -> None:
        self.app.exit(0)
