"""A run, live or ended: its charts, what they say in words, the log, and its answers to fixed prompts through time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Static

from screens.active import ActiveRun, active_run, stopping_words
from screens.base import BenchScreen
from screens.live_keys import KEYS
from screens.messages import OpenChat, OpenExport, OpenSample, OpenTrain, ProjectChanged
from screens.safe import plain
from screens.sources import makes_rewards, why_no_model
from screens.widgets.chart import LineChart
from screens.widgets.facts import Facts
from screens.widgets.panel import Panel
from screens.widgets.progress import NARROW_COLUMNS, RunStats, Spoken, Stats
from screens.widgets.run_text import checks, notes, samples
from workbench.charts import panels
from workbench.charts.narration import verdicts
from workbench.live import Follower
from workbench.methods import Panel as MethodPanel
from workbench.runs import Run
from workbench.text import clean

POLL_SECONDS = 0.25
"""Four looks a second: the charts do not draw more often."""

MOST_CHARTS = 15
GRID_CHARTS = 6
"""Charts beside each other on a wide screen; walking past the last one with `tab` shows the next six."""

LOG_BYTES = 64_000
STEP_COLUMNS, WORTH_COLUMNS = 9, 16
"""A step's number before an answer to a fixed prompt; with what the answer is worth, where the run has a reward."""
WIDE_COLUMNS, TALL_ROWS = 110, 30

OF_CHARTS = frozenset({"next_chart", "zoom", "log_scale", "full_range", "window"})
"""What nothing would be seen of while the log or the samples are shown, or in a run that has no charts."""


@dataclass
class RunRead(Message):
    """The run's log has been read to its end for the first time."""

    follower: Follower


class LiveScreen(BenchScreen):
    """One run, from its first event to its end and after."""

    PLACE = "runs"
    CSS_PATH = "live.tcss"
    AUTO_FOCUS = ""
    SAYS_NEXT_STEP = False
    BINDINGS: ClassVar[list[BindingType]] = KEYS

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.run: Run | None = None
        self.follower: Follower | None = None
        self._panels: tuple[MethodPanel, ...] = ()
        self._charts: Sequence[panels.Chart] = ()
        self._current = 0
        self._zoomed = False
        self._showing = "charts"
        self._log_size = -1
        self._asked_to_stop = False

    def content(self) -> ComposeResult:
        yield RunStats()
        yield Spoken()
        with Container(id="live-body"):
            with Container(id="live-charts"):
                for _ in range(MOST_CHARTS):
                    yield LineChart()
            with Horizontal(id="live-below"):
                with Panel(title=" notes ", id="live-notes"), VerticalScroll(can_focus=False):
                    yield Static(classes="live-notes-text")
                with Panel(title=" samples through time ", id="live-samples"), VerticalScroll(can_focus=False):
                    yield Facts(columns=STEP_COLUMNS, classes="live-samples-text")
            with Vertical(id="live-text"), VerticalScroll(id="live-scroll", can_focus=False):
                yield Static(id="live-text-body")
                yield Facts(columns=STEP_COLUMNS, id="live-watched")

    def on_mount(self) -> None:
        self.run = self.bench.runs.get(self.run_id)
        self._panels = panels.panels(self.run.job)[:MOST_CHARTS]
        self.query_one("#live-text").display = False
        self._show_charts()
        self._read_all(self.run)
        self.set_interval(POLL_SECONDS, self._poll)

    @work(thread=True, group="live")
    def _read_all(self, run: Run) -> None:
        """The whole log for the first time, off the screen's thread: a million events take seconds."""
        follower = Follower(run)
        follower.poll()
        while follower.behind:
            follower.poll()
        self.post_message(RunRead(follower))

    def on_run_read(self, message: RunRead) -> None:
        self.follower = message.follower
        self._draw()

    def _poll(self) -> None:
        """What is new since the last look: a few kilobytes, so it need not leave this thread."""
        if self.follower is None or not self.in_front:
            return
        alive = self.follower.status.alive
        if self.follower.poll():
            self._draw()
        if alive and not self.follower.status.alive:
            self.refresh_bindings()
            self.post_message(ProjectChanged())
        if self._showing == "log":
            self._draw_log()

    # -- drawing

    def _draw(self) -> None:
        follower, run = self.follower, self.run
        if follower is None or run is None:
            return
        live, status = follower.live, follower.status
        self.status_row.active = self.working(self.bench_app.active)
        self.query_one(RunStats).stats = Stats.of(run, live, status)
        self.query_one(Spoken).say(status, verdicts(live, run.job.action) if run.job.kind == "train" else [], run.job)
        self._charts = panels.charts(live, self._panels)
        for chart, data in zip(self.query(LineChart), self._charts, strict=False):
            if chart.display:
                chart.show(data.lines, title=data.title, place=self._place())
        self.query_one(".live-notes-text", Static).update(notes(follower))
        for watched in self.query(Facts):
            watched.columns = WORTH_COLUMNS if any(event.rewards for event in live.watched[-1:]) else STEP_COLUMNS
        self.query_one(".live-samples-text", Facts).facts = samples(live, newest_only=True)
        if self._showing == "watched":
            self.query_one("#live-watched", Facts).facts = samples(live)
        if run.job.kind == "export":
            self.query_one("#live-text-body", Static).update(checks(live))
        self.refresh_bindings()

    def working(self, active: ActiveRun | None) -> ActiveRun | None:
        """This run as it is known here, lest the row at the foot tells an older step than the one at the head."""
        if active is None or self.follower is None or active.run_id != self.run_id:
            return active
        return active_run(self.follower, active.waiting) if self.follower.status.alive else None

    def _place(self) -> str:
        """Which chart of how many it is, in the frame of one alone where the row of figures has no room for it."""
        count = len(self._panels)
        return f"{self._current + 1} of {count}" if count > 1 and self.size.width < NARROW_COLUMNS else ""

    def _show_charts(self) -> None:
        """Six charts in a grid where there is room, else one at a time."""
        count = len(self._panels)
        one = self._zoomed or self.size.width < WIDE_COLUMNS or self.size.height < TALL_ROWS
        first = self._current if one else self._current // GRID_CHARTS * GRID_CHARTS
        end = min(count, first + (1 if one else GRID_CHARTS))
        for at, chart in enumerate(self.query(LineChart)):
            chart.display = first <= at < end
            chart.set_class(not one and at == self._current, "-current")
        grid = self.query_one("#live-charts")
        shown = 1 if one else end - first
        columns = 1 if shown == 1 else 3 if self.size.width >= 150 and shown > 4 else 2
        grid.styles.grid_size_columns = columns
        grid.styles.grid_size_rows = max(1, -(-shown // columns))
        text = self._showing != "charts" or not count
        self.query_one(RunStats).charts = (0, 0, 0) if text else (first + 1, end, count)
        self.query_one("#live-text").display = text
        self.query_one("#live-watched").display = self._showing == "watched"
        self.query_one("#live-text-body").display = self._showing != "watched"
        grid.display = not text
        self.query_one("#live-below").set_class(text or self._zoomed, "-away")
        if self.follower is not None:
            self._draw()

    def on_resize(self) -> None:
        self._show_charts()

    def _draw_log(self) -> None:
        """The end of the worker's log, read again only where it has grown."""
        if self.run is None:
            return
        try:
            size = self.run.paths.log.stat().st_size
            if size == self._log_size:
                return
            with self.run.paths.log.open("rb") as file:
                file.seek(max(0, size - LOG_BYTES))
                text = _overwritten(file.read(LOG_BYTES).decode("utf-8", "replace"))
        except OSError:
            size, text = 0, "There is no log yet."
        self._log_size = size
        self.query_one("#live-text-body", Static).update(plain(clean(text[-32_000:]) or "The log is empty."))
        self.call_after_refresh(self.query_one("#live-scroll", VerticalScroll).scroll_end, animate=False)

    # -- keys

    def action_next_chart(self, step: int) -> None:
        if self._panels:
            self._current = (self._current + step) % len(self._panels)
            self._show_charts()

    def action_zoom(self) -> None:
        self._zoomed = not self._zoomed
        self._show_charts()

    def action_show(self, what: str) -> None:
        self._showing = "charts" if self._showing == what else what
        self._log_size = -1
        if self._showing == "log":
            self._draw_log()
        self._show_charts()
        self.refresh_bindings()

    def action_log_scale(self) -> None:
        for chart in self.query(LineChart):
            chart.log_scale = not chart.log_scale

    def action_full_range(self) -> None:
        for chart in self.query(LineChart):
            chart.full = not chart.full

    def action_window(self, closer: bool) -> None:
        for chart in self.query(LineChart):
            chart.zoom(closer)

    def action_scroll(self, lines: int) -> None:
        for scroll in self.query(VerticalScroll):
            scroll.scroll_relative(y=lines, animate=False)

    def action_edge(self, end: bool) -> None:
        scroll = self.query_one("#live-scroll", VerticalScroll)
        (scroll.scroll_end if end else scroll.scroll_home)(animate=False)

    def action_stop(self) -> None:
        if self.run is not None:
            told = stopping_words(self.run)
            self.bench.runs.stop(self.run)
            self.notice(told)

    @work(thread=True, group="live-resume")
    def action_resume(self) -> None:
        if self.run is not None:
            self.bench.runs.resume(self.run)
            self.post_message(ProjectChanged(f"Run {self.run.id} goes on."))

    def action_sample(self) -> None:
        self.post_message(OpenSample(self.run_id))

    def action_export(self) -> None:
        self.post_message(OpenExport(self.run_id))

    def action_chat(self) -> None:
        self.post_message(OpenChat(self.run_id))

    def action_reinforce(self) -> None:
        if self.run is not None:
            reward = f"run:{self.run.id}"
            self.post_message(OpenTrain(method="ppo", parent=self.run.job.parent, changes={"reward": reward}))

    def action_leave(self) -> None:
        if self._showing != "charts" and self._panels:
            self.action_show(self._showing)
        else:
            super().action_leave()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.run is not None:
            judges = makes_rewards(self.run.job)
            if action == "show" and parameters == ("watched",) and self.run.job.kind != "train":
                return False  # only training answers fixed prompts, or scores their answers
            if action == "reinforce" and not judges:
                return False
            if action in ("sample", "export", "chat") and judges:
                return False  # it scores answers and writes none
            if action in OF_CHARTS and (self._showing != "charts" or not self._panels):
                return False
        return super().check_action(action, parameters)

    def why_not(self, action: str) -> str:
        if self.run is None or self.follower is None:
            return ""
        status = self.follower.status
        if action == "stop" and not status.alive:
            return "It is not running."
        if action == "resume" and (status.alive or status.state == "finished"):
            return "It is running." if status.alive else "It has finished: there is nothing left to do."
        return why_no_model(self.run, action)


def _overwritten(text: str) -> str:
    """The text as a terminal ends up showing it: what follows a carriage return writes over what came before it."""
    return "\n".join(row.rstrip("\r").rpartition("\r")[2] for row in text.split("\n"))
