"""The app: it routes between screens, follows the active run, and shows errors as sentences. It decides nothing else.

First paint has to come quickly, so a screen's module is imported when it is first opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ScreenStackError, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.message import Message
from textual.screen import Screen
from textual.worker import WorkerFailed, get_current_worker

from screens import hangup, messages
from screens.active import ActiveRun, ActiveRuns
from screens.base import LEAST_COLUMNS, LEAST_ROWS, NOTICE_SECONDS, BenchScreen
from screens.pasting import guard
from screens.personal import Misread, PersonalApp, misread_error, wants_ascii
from screens.places import PLACES, opener
from screens.safe import clean
from screens.stylesheet import OnceParsed
from screens.widgets.keys import shown_bindings
from screens.widgets.title import Tab
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.next_step import NextStep, Progress

LOOK_SECONDS = 1.0
"""How often the active run's row is brought up to date. The live screen follows its own run more often."""


LIVE = "screens.live:LiveScreen"
TRAIN = "screens.train:TrainScreen"
COMPARE = "screens.compare:CompareScreen"


@dataclass
class Looked(Message):
    """A look at the runs is done: what works now, what has ended since, how many completions came in."""

    active: ActiveRun | None
    ended: tuple[str, ...]
    completions: int


class BenchApp(PersonalApp):
    """The workbench in a terminal, on one open project."""

    TITLE = "finetune workbench"
    CSS_PATH = "app.tcss"
    DEFAULT_MODE = "home"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {place.mode: opener(place.screen) for place in PLACES}
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  # a ClassVar in Textual, which declares it without saying so
        (0, "-too-narrow"),
        (LEAST_COLUMNS, "-narrow"),
        (110, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012  # as above
        (0, "-too-short"),
        (LEAST_ROWS, "-compact"),
        (30, "-tall"),
    ]
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "help", "help", id="app.help", tooltip="Show every key that works here."),
        Binding(  # before a screen's own e: while an error stands in the status row, the row names this key
            "e",
            "error_details",
            "details",
            show=False,
            priority=True,
            id="app.error",
            tooltip="Show the last error in full.",
        ),
        Binding(
            "ctrl+q", "quit", "quit", show=False, priority=True, id="app.quit", tooltip="Close the app. Runs go on."
        ),
        *(
            Binding(
                place.key, f"go('{place.mode}')", place.label, show=False, id=f"app.{place.mode}", tooltip=place.about
            )
            for place in PLACES
        ),
    ]

    def __init__(self, bench: Bench, start: str = DEFAULT_MODE, *, ascii_only: bool = False) -> None:
        super().__init__(ascii_only=ascii_only)
        self.bench = bench
        self._screen_stacks = {start: []}  # Textual begins with DEFAULT_MODE, which would be drawn only to be left
        self._current_mode = start
        self.tabs = tuple(Tab(p.mode, self.key_for(f"app.{p.mode}", p.key), p.label) for p in PLACES)
        self.active: ActiveRun | None = None
        self.progress: Progress | None = None
        self.next_step: NextStep | None = None
        self.error: WorkbenchError | None = None
        self._told: tuple[BenchScreen | None, float] = (None, 0.0)
        """The screen on which the error was told first, and when."""
        self._runs = ActiveRuns(bench)
        self._notice_timer: Any = None
        self._forget_notice: Callable[[], None] = lambda: None
        self.stylesheet = OnceParsed(self.get_css_variables())

    @property
    def base_name(self) -> str:
        """The project's base in a word: the last part of a folder or a hub id."""
        return self.bench.base.rstrip("/").rpartition("/")[2]

    # -- life

    def on_mount(self) -> None:
        self._catch_signals()
        self.remember_theme()
        self.call_after_refresh(self.call_after_refresh, self._begin_looking)  # the first refresh is still empty

    def _begin_looking(self) -> None:
        """After the first paint: what looks into the project imports modules, and imports hold up the drawing."""
        gc.enable()
        self.look_at_runs()
        self.find_next_step()
        self.check_config()
        self.set_interval(LOOK_SECONDS, self.look_at_runs)

    def _catch_signals(self) -> None:
        """SIGTERM and SIGHUP leave through the front door, so that the terminal is restored."""
        if self.is_headless:
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(NotImplementedError, RuntimeError):  # no signals on this platform or thread
                loop.add_signal_handler(number, self._leave_on_signal, number)
        hangup.watch(lambda: loop.call_soon_threadsafe(self._leave_on_signal, signal.SIGHUP))

    def _leave_on_signal(self, number: int) -> None:
        self.exit(128 + number, return_code=128 + number)

    @work(thread=True, exclusive=True, group="look")
    def look_at_runs(self) -> None:
        """One look at the runs, off the screen's thread; completions that sampling runs made go into the store."""
        before = self.active
        active = self._runs.look()
        sampling = any(run is not None and run.kind == "sample" for run in (before, active))
        completions = self.bench.ingest() if sampling or self._runs.ended else 0
        if not get_current_worker().is_cancelled:
            self.post_message(Looked(active, tuple(run.id for run in self._runs.ended), completions))

    @work(thread=True, exclusive=True, group="next")
    def find_next_step(self) -> None:
        """Asks the engine what comes next."""
        from workbench.next_step import next_step, progress_of

        progress = progress_of(self.bench)
        self.post_message(messages.NextStepKnown(progress, next_step(progress)))

    def on_misread(self, message: Misread) -> None:
        self.show_error(misread_error(message.problems))

    def on_looked(self, message: Looked) -> None:
        self.active = message.active
        self._dress_current()
        if message.ended or message.completions:
            self.post_message(messages.ProjectChanged())

    def on_next_step_known(self, message: messages.NextStepKnown) -> None:
        self.progress, self.next_step = message.progress, message.step
        self._dress_current()

    def on_project_changed(self, message: messages.ProjectChanged) -> None:
        if message.what:
            self.show_notice(message.what)
        self.find_next_step()
        screen = self._front()
        if screen is not None:
            screen.reload()

    # -- attributes down

    def dress(self, screen: BenchScreen) -> None:
        """Hands a screen what the app knows: the active run, the next step, the project's names."""
        from screens.widgets.title import TitleRow

        if not screen.query(TitleRow):
            return  # pushed but not composed yet: its resume dresses it
        title, row = screen.query_one(TitleRow), screen.status_row
        title.base = self.base_name
        row.where = f"{self.bench.name} · {self.base_name}"
        row.active, row.error = screen.working(self.active), self.error
        row.next_step = self.next_step.told_on(screen.PLACE) if self.next_step and screen.SAYS_NEXT_STEP else ""
        if self.progress is not None and self.next_step is not None:
            screen.know(self.progress, self.next_step)

    def come_to(self, screen: BenchScreen) -> None:
        """Dresses a screen that comes to the front. An error that could be read elsewhere does not follow it there."""
        where, when = self._told
        if self.error is not None and screen is not where and time.monotonic() - when >= NOTICE_SECONDS:
            self.error = None
            self.refresh_bindings()
        self.dress(screen)

    def _dress_current(self) -> None:
        screen = self._front()
        if screen is not None and screen.is_mounted:
            self.dress(screen)

    def _front(self) -> BenchScreen | None:
        """The screen in front, if it is one of ours and not an overlay; there is none while the app closes."""
        stack = self.screen_stack
        return stack[-1] if stack and isinstance(stack[-1], BenchScreen) else None

    # -- what is said

    def notify_plain(self, text: str, *, title: str = "", error: bool = False) -> None:
        """A toast whose text is never parsed as markup."""
        severity = "error" if error else "information"
        self.notify(clean(text, 600), title=title, severity=severity, timeout=8, markup=False)  # type: ignore[arg-type]  # both words are severities

    def show_notice(self, text: str) -> None:
        """A sentence in the status row; it also takes an old error away."""
        self.error = None
        self._dress_current()
        screen = self._front()
        if screen is None:
            self.notify_plain(text)
            return
        row = screen.status_row
        if self._notice_timer is not None:
            self._notice_timer.stop()
            self._forget_notice()  # it may stand on another screen, where nothing would take it away
        row.notice = text
        if not row.holds(text):
            self.notify_plain(text)
        self._forget_notice = lambda: setattr(row, "notice", "")
        self._notice_timer = self.set_timer(NOTICE_SECONDS, self._forget_notice)

    def show_error(self, error: WorkbenchError) -> None:
        """The error in the status row, and as a toast where it does not fit there."""
        self.error = error
        self._told = self._front(), time.monotonic()
        self._dress_current()
        self.refresh_bindings()
        if self._front() is None or len(str(error)) + 20 > self.size.width:
            self.notify_plain(f"{error.message}\n{error.hint}".strip(), error=True)

    def action_error_details(self) -> None:
        from screens.help import ErrorScreen

        if self.error is not None:
            self.push_screen(ErrorScreen(self.error))
            self.error = None
            self._dress_current()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.error is not None if action == "error_details" else True

    # -- routes

    def action_go(self, mode: str) -> None:
        """Shows a main screen, and drops what was pushed over the one that is left."""
        while self._front() is not None and len(self.screen_stack) > 1:
            self.pop_screen()
        if mode in self.MODES:
            self.switch_mode(mode)

    def on_go_to(self, message: messages.GoTo) -> None:
        self.action_go(message.mode)

    def on_open_run(self, message: messages.OpenRun) -> None:
        self.push_screen(opener(LIVE)(message.run_id))

    def on_open_train(self, message: messages.OpenTrain) -> None:
        self.push_screen(opener(TRAIN)(method=message.method, parent=message.parent, changes=message.changes))

    def on_open_sample(self, message: messages.OpenSample) -> None:
        self._open_with("sample", message.source)

    def on_open_export(self, message: messages.OpenExport) -> None:
        self._open_with("export", message.run_id)

    def on_open_chat(self, message: messages.OpenChat) -> None:
        self._open_with("chat", message.model)

    def on_open_compare(self, message: messages.OpenCompare) -> None:
        self.push_screen(opener(COMPARE)(message.part))

    def _open_with(self, mode: str, source: str | None) -> None:
        """Shows a main screen with that run, base or file chosen in it."""
        self.action_go(mode)
        choose = getattr(self._front(), "choose_source", None)
        if choose is not None:
            self.call_after_refresh(choose, source)

    def on_run_launched(self, message: messages.RunLaunched) -> None:
        self.look_at_runs()
        self.find_next_step()

    def go_back(self) -> None:
        """Off a pushed screen, else home; at home it quits."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif self.current_mode != self.DEFAULT_MODE:
            self.switch_mode(self.DEFAULT_MODE)

    async def action_quit(self) -> None:
        """Closes the app; while a run works, says first that it goes on and how to come back."""
        from screens.help import QuitScreen

        if self.active is None or isinstance(self.screen, QuitScreen):
            self.exit(0)
        else:
            self.push_screen(QuitScreen(self.active, str(self.bench.paths.root)))

    def action_help(self) -> None:
        from screens.help import HelpScreen

        screen = self._front()
        if screen is not None:
            self.push_screen(HelpScreen(screen))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every screen, every key of the footer, then what concerns the app as a whole."""
        for place in PLACES:
            yield SystemCommand(f"{place.key} {place.label}", place.about, lambda mode=place.mode: self.action_go(mode))
        for active in shown_bindings(screen):
            binding = active.binding
            if active.enabled:
                yield SystemCommand(
                    binding.description.capitalize(),
                    f"{binding.tooltip} Key: {self.get_key_display(binding)}",
                    lambda active=active: self.run_action(active.binding.action, active.node),
                )
        yield SystemCommand("Theme", "Choose the colours.", self.action_change_theme)
        yield SystemCommand("Quit", "Close the app. Runs go on.", self.action_quit)

    # -- edges

    async def run_action(self, action: Any, default_namespace: DOMNode | None = None, namespaces: Any = None) -> bool:
        """Every key, click and palette command ends here: errors become sentences, greyed keys say why."""
        try:
            done = await super().run_action(action, default_namespace, namespaces)
        except WorkbenchError as error:
            self.show_error(error)
            return True
        if not done and isinstance(default_namespace, BenchScreen) and isinstance(action, str):
            why = default_namespace.why_not(action.partition("(")[0])
            if why:
                self.show_notice(why)
                return True
        return done

    def _handle_exception(self, error: Exception) -> None:
        """A WorkbenchError out of a worker is shown, what comes late to a closing app passes, a bug ends the app."""
        cause = error.error if isinstance(error, WorkerFailed) else error
        if isinstance(cause, WorkbenchError):
            self.show_error(cause)
        elif isinstance(cause, ScreenStackError) and not self.screen_stack:
            self.log.warning(f"came after the screens were closed: {cause!r}")
        else:
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Textual's crash screen without the values of local variables: they may hold prompts and tokens."""
        import rich
        from rich.segment import Segments
        from rich.traceback import Traceback

        self.bell()
        traceback = Traceback(show_locals=False, width=None, suppress=[rich])
        self._exit_renderables.append(Segments(self.console.render(traceback, self.console.options)))
        self._close_messages_no_wait()


def run_app(bench: Bench, start: str = BenchApp.DEFAULT_MODE, ascii_only: bool | None = None) -> int:
    """Opens the app on a screen and says how it ended: 0, or 128 + the signal, or 1 after a crash.

    `ascii_only` of None leaves it to the person's config and the terminal.
    """
    gc.disable()  # until the first paint, a fifth of which was looking for garbage among what had just been made
    app = BenchApp(bench, start, ascii_only=wants_ascii(ascii_only))
    guard(app.driver_class)
    app.run()
    return app.return_code or 0
