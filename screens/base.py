"""What every screen has: title row, content, status row, footer, and one place where errors become sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from screens.widgets.keys import KeyRow
from screens.widgets.panel import Empty, Panel
from screens.widgets.status import StatusRow
from screens.widgets.title import TitleRow
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from screens.active import ActiveRun
    from screens.app import BenchApp
    from workbench.bench import Bench
    from workbench.next_step import NextStep, Progress

__all__ = ["LEAST_COLUMNS", "LEAST_ROWS", "NOTICE_SECONDS", "BenchScreen", "Empty", "Panel"]

LEAST_COLUMNS, LEAST_ROWS = 60, 15
NOTICE_SECONDS = 6.0
"""Long enough to read a sentence, short enough not to hide the active run."""


class BenchScreen(Screen[None]):
    """A screen of the workbench. Subclasses give `content()`, their bindings, and `why_not()` for greyed keys."""

    PLACE: ClassVar[str] = ""
    """The mode whose tab is marked: its own for a main screen, its parent's for a pushed one."""

    SAYS_NEXT_STEP: ClassVar[bool] = True
    """Whether the status row says what comes next while there is nothing else to say."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "back", show=False, id="screen.leave", tooltip="Go back to where you came from."),
    ]

    def compose(self) -> ComposeResult:
        app = self.bench_app
        self._take_size_classes()
        title = TitleRow(app.tabs, self.PLACE)
        title.project, title.base = app.bench.name, app.base_name
        yield title
        with Container(id="content"):
            yield from self.content()
        status = StatusRow()
        status.where = f"{app.bench.name} · {app.base_name}"
        yield status
        yield KeyRow()
        yield TooSmall()

    def _take_size_classes(self) -> None:
        """The breakpoints' classes before the first paint: Textual sets them after it, and drew every screen twice."""
        width, height = self.app.size
        reached = (
            [name for least, name in breakpoints or [] if least <= length][-1:]
            for length, breakpoints in (
                (width, self.app.HORIZONTAL_BREAKPOINTS),
                (height, self.app.VERTICAL_BREAKPOINTS),
            )
        )
        self.update_classes({name: True for names in reached for name in names}, update=False)

    def content(self) -> ComposeResult:
        """The widgets between title and status row."""
        yield from ()

    def reload(self) -> None:
        """Called when the screen comes to the front and when the project has changed. Loads in a thread worker."""

    def know(self, progress: Progress, step: NextStep) -> None:
        """Called with what the project holds and what comes next, whenever that is worked out anew."""

    def working(self, active: ActiveRun | None) -> ActiveRun | None:
        """The run that the status row shows. A screen that follows it more closely than the app knows it better."""
        return active

    def why_not(self, action: str) -> str:
        """A sentence saying why that action cannot be used now, or nothing: the key is then greyed, and says it."""
        return ""

    @property
    def bench_app(self) -> BenchApp:
        return cast("BenchApp", self.app)

    @property
    def bench(self) -> Bench:
        return self.bench_app.bench

    @property
    def in_front(self) -> bool:
        """Whether nothing lies over it; nothing is in front while the app closes."""
        stack = self.app.screen_stack
        return bool(stack) and stack[-1] is self

    # -- what the screen says

    def notice(self, text: str) -> None:
        """A sentence in the status row for a few seconds."""
        self.bench_app.show_notice(text)

    def show_error(self, error: WorkbenchError) -> None:
        """What happened and what to do next; `e` opens it in full."""
        self.bench_app.show_error(error)

    @property
    def status_row(self) -> StatusRow:
        return self.query_one(StatusRow)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Greyed (None) where `why_not` has a reason."""
        return None if self.why_not(action) else True

    def action_leave(self) -> None:
        """Back: out of an input first, then off a pushed screen, then home."""
        if self.focused is not None and takes_typing(self.focused):
            self._focus_content()
        else:
            self.bench_app.go_back()

    def _focus_content(self) -> None:
        rest = [widget for widget in self.focus_chain if not takes_typing(widget)]
        self.set_focus(rest[0] if rest else None)

    # -- events

    def on_screen_resume(self) -> None:
        self.bench_app.come_to(self)
        self.call_after_refresh(self.reload)

    def _compositor_refresh(self) -> None:
        """Draws the screen, unless drawing is held back: Textual draws it then as well and throws the picture away.

        Nor while the app closes: the screens are off the stack by then, and a late timer may still ask.
        """
        if not self.app._batch_count and self.app.screen_stack:
            super()._compositor_refresh()

    async def _dispatch_message(self, message: Message) -> None:
        """The screen's edge: a WorkbenchError raised by any of its handlers is shown, everything else crashes loudly.

        Textual has no public hook around handlers; tests/ui/test_app.py pins this one.
        """
        try:
            await super()._dispatch_message(message)
        except WorkbenchError as error:
            self.show_error(error)


def takes_typing(widget: Widget) -> bool:
    """Whether letters typed go into it. Asked this way, because importing TextArea costs a tenth of the first paint."""
    return widget.check_consume_key("a", "a")


class TooSmall(Static):
    """Takes the place of everything when the terminal is too small to be useful."""

    def on_resize(self, event: events.Resize) -> None:
        size = self.app.size
        self.update(Content(f"needs {LEAST_COLUMNS}×{LEAST_ROWS}, have {size.width}×{size.height}"))
