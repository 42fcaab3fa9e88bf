"""The small screens over the others: every live key, an error in full, and the question before quitting."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.keys import REPLACED_KEYS, key_to_character
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from screens.active import ActiveRun
from screens.safe import plain
from screens.widgets.facts import Fact, Facts
from screens.widgets.status import run_line
from workbench.errors import WorkbenchError

KEY_COLUMNS = 19


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
    FOOT_TEXT = "n names for config.toml · esc back"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "names", "names", id="help.names", tooltip="Show by which names config.toml knows these keys."),
    ]

    def __init__(self, below: Screen[Any]) -> None:
        super().__init__()
        self.groups = grouped(below)
        self._named = named(below)
        self._by_name = False

    def action_names(self) -> None:
        self._by_name = not self._by_name
        self.refresh(recompose=True)

    def text(self) -> ComposeResult:
        if self._by_name:
            yield from _names(self._named)
            return
        for title, rows in self.groups:
            yield Static(Content.styled(title, "bold $primary"), classes="help-group")
            yield Facts([_helped(*row) for row in rows], columns=KEY_COLUMNS, classes="help-row")


def _helped(keys: str, sentence: str, why: str) -> Fact:
    """A key and what it does, or why it cannot be used now."""
    reason = Content.styled(f"  ({why})", "$quiet") if why else Content("")
    shown = Content.styled(f"  {shortened(keys)} ", "$quiet" if why else "bold $accent")
    return shown, Content.assemble(sentence, reason)


def _names(rows: list[tuple[str, str, str]]) -> ComposeResult:
    """Every key as a line that could stand in config.toml, and what it does in a word."""
    told = "What can stand under [keys] in config.toml, as it is now:"
    yield Static(Content.styled(told, "bold $primary"), classes="help-group")
    lines = [Content.assemble(f"  {n} = ", (keys, "bold $accent"), (f"  # {word}", "$quiet")) for n, keys, word in rows]
    yield Static(Content("\n").join(lines), classes="help-row")


Row = tuple[str, str, str]


def grouped(screen: Screen[Any]) -> list[tuple[str, list[Row]]]:
    """(title, [(keys, sentence, why not)]) of the live bindings, in the order they are declared.

    This screen's come under the headings it gives them, then the focused piece's, then everywhere's. Bindings that
    say the same are one row.
    """
    declared = [binding.id for binding in screen.BINDINGS if isinstance(binding, Binding)]
    places: dict[str, list[ActiveBinding]] = {"screen": [], "In this list or field": [], "Everywhere": []}
    for active in screen.active_bindings.values():
        general = active.node is screen.app or not active.binding.id  # without an id it is one of Textual's own
        mine = active.node is screen
        places["Everywhere" if general else "screen" if mine else "In this list or field"].append(active)
    places["screen"].sort(key=lambda a: declared.index(a.binding.id) if a.binding.id in declared else len(declared))
    found: dict[str, dict[Row, list[str]]] = {}
    for place, live in places.items():
        for active in live:
            group = active.binding.group.description if active.binding.group else "This screen"
            rows = found.setdefault(group if place == "screen" else place, {})
            rows.setdefault(_said(screen, active), []).append(screen.app.get_key_display(active.binding))
    return [(title, [(" ".join(keys), *row[1:]) for row, keys in rows.items()]) for title, rows in found.items()]


def named(screen: Screen[Any]) -> list[tuple[str, str, str]]:
    """(id, keys as TOML, word) of the live bindings of ours, by id, the whole app's last."""
    found: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    for active in screen.active_bindings.values():
        if active.binding.id:
            found.setdefault(active.binding.id, []).append(_written(active.binding.key))
            words[active.binding.id] = active.binding.description
    return [
        (name, keys[0] if len(keys) == 1 else f"[{', '.join(keys)}]", words[name])
        for name, keys in sorted(found.items(), key=lambda row: (row[0].startswith("app."), row))
    ]


def _written(key: str) -> str:
    """A key as config.toml may have it: its letter or sign, else Textual's name of it."""
    letter = key_to_character(REPLACED_KEYS.get(key, key)) or ""
    return f'"{letter if letter.isprintable() and letter.strip() and letter not in _QUOTED else key}"'


_QUOTED = ('"', "\\")


def _said(screen: Screen[Any], active: ActiveBinding) -> Row:
    """What a binding does and why it cannot be used now, its key left out."""
    binding = active.binding
    why_not = getattr(screen, "why_not", None)
    why = "" if active.enabled or why_not is None else why_not(binding.action.partition("(")[0])
    return "", binding.tooltip or binding.description.capitalize(), why


def shortened(keys: str) -> str:
    """`1 2 3 4 x` as `1–4 x`: three or more neighbours become a range."""
    runs: list[list[str]] = []
    for key in keys.split(" "):
        last = runs[-1][-1] if runs else ""
        if len(key) == len(last) == 1 and key.isalnum() and ord(key) == ord(last) + 1:
            runs[-1].append(key)
        else:
            runs.append([key])
    return " ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else " ".join(run) for run in runs)


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
