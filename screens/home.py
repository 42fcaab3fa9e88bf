"""Home: the loop as five rows, each with its count and the one thing to do there; wide, also lineage and the runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from screens.base import BenchScreen
from screens.messages import GoTo, OpenRun, OpenTrain
from screens.safe import line
from screens.widgets.lineage import lineage, recent
from screens.widgets.panel import Panel

if TYPE_CHECKING:
    from workbench.job import Job
    from workbench.next_step import NextStep, Progress
    from workbench.runs import Run
    from workbench.runs.status import Status


@dataclass(frozen=True)
class Stage:
    """One row of the loop: its name, and what enter (or the key) does there."""

    name: str
    key: str
    does: str
    mode: str = ""


STAGES = (
    Stage("prompts", "3", "read and import data", "data"),
    Stage("completions", "4", "let a model answer", "sample"),
    Stage("rankings", "5", "say which is better", "rank"),
    Stage("runs", "t", "train on it"),
    Stage("exports", "7", "take the model with you", "export"),
)


@dataclass(frozen=True)
class StageState:
    """What a row shows of its stage."""

    count: int | None = None
    detail: str = ""
    is_next: bool = False


class StageRow(Static, can_focus=True):
    """One row of the loop; enter or a click goes there."""

    ALLOW_SELECT = False
    state: reactive[StageState] = reactive(StageState())

    class Chosen(Message):
        """The person wants to go there."""

        def __init__(self, stage: Stage) -> None:
            super().__init__()
            self.stage = stage

    def __init__(self, stage: Stage, joint: str) -> None:
        super().__init__(id=f"stage-{stage.name}")
        self._stage = stage
        self._joint = joint

    def render(self) -> Content:
        state, stage = self.state, self._stage
        full = bool(state.count)
        mark = ("▶", "bold $accent") if state.is_next else ("●", "$primary") if full else ("○", "$quiet")
        name_style = "bold $strong" if full or state.is_next else "$foreground"
        count = "…" if state.count is None else f"{state.count:,}"
        first = Content.assemble(
            (f"{self._joint}─", "$rule"),
            mark,
            (f" {stage.name:<12}", name_style),
            (f"{count:>9}", name_style),
            "    ",
            (f" {stage.key} ", "bold $accent on $panel"),
            (f" {stage.does}", "$foreground"),
        )
        below = " " if self._joint == "╰" else "│"
        second = Content.assemble((f"{below}   ", "$rule"), line(state.detail, "$quiet"))
        width = self.size.width
        lines = [first.truncate(width, ellipsis=True), second.truncate(width, ellipsis=True)]
        return Content("\n").join([*lines, Content.styled(below, "$rule")][: max(2, self.size.height)])

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Chosen(self._stage))

    def choose(self) -> None:
        self.post_message(self.Chosen(self._stage))


@dataclass
class RunsKnown(Message):
    """The project's runs are read."""

    runs: list[tuple[Run, Status]]
    facts: str


class HomeScreen(BenchScreen):
    """The project at a glance."""

    PLACE = "home"
    CSS_PATH = "home.tcss"
    AUTO_FOCUS = "StageRow"
    SAYS_NEXT_STEP = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open", id="home.open", tooltip="Go to the highlighted part of the loop."),
        Binding("t", "train", "train", id="home.train", tooltip="Fill in the form for a training run."),
        Binding("l", "last_run", "last run", id="home.last_run", tooltip="Show the run at work, else the newest."),
        Binding("j,down", "move(1)", "next row", show=False, id="home.down", tooltip="Go one row down."),
        Binding("k,up", "move(-1)", "previous row", show=False, id="home.up", tooltip="Go one row up."),
        Binding("g,home", "edge(0)", "first row", show=False, id="home.first", tooltip="Go to the first row."),
        Binding("G,end", "edge(-1)", "last row", show=False, id="home.last", tooltip="Go to the last row."),
        Binding("q", "app.quit", "quit", id="home.quit", tooltip="Close the app. Runs go on."),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[tuple[Run, Status]] = []
        self._moved = False

    def content(self) -> ComposeResult:
        with Horizontal():
            with Vertical(id="loop"):
                yield Static(id="project")
                for stage in STAGES:
                    yield StageRow(stage, "╭" if stage is STAGES[0] else "╰" if stage is STAGES[-1] else "├")
                yield Static(id="advice")
            with Vertical(id="beside"):
                with Panel(title="lineage", id="lineage-panel"), VerticalScroll(can_focus=False):
                    yield Static(id="lineage")
                with Panel(title="recent runs", id="recent-panel"):
                    yield Static(id="recent")

    def on_mount(self) -> None:
        self._say_project("")

    # -- loading

    def reload(self) -> None:
        self._read_runs()

    @work(thread=True, exclusive=True, group="home")
    def _read_runs(self) -> None:
        from screens.machine import machine_line

        runs = [(run, run.status()) for run in self.bench.runs.all()]
        self.post_message(RunsKnown(runs, machine_line(self.bench)))

    def on_runs_known(self, message: RunsKnown) -> None:
        self._runs = message.runs
        self._say_project(message.facts)
        jobs: Sequence[tuple[Job, Status]] = [(run.job, status) for run, status in message.runs]
        self.query_one("#lineage", Static).update(lineage(jobs, self.bench_app.base_name))
        self.query_one("#recent", Static).update(recent(jobs, time.time()))

    def _say_project(self, facts: str) -> None:
        self.query_one("#project", Static).update(
            Content("\n").join(
                [line(self.bench.name, "bold $strong"), line(facts or self.bench_app.base_name, "$quiet")]
            )
        )

    def know(self, progress: Progress, step: NextStep) -> None:
        counts = progress.counts
        details: dict[str, tuple[int, str]] = {
            "prompts": (
                counts.prompts,
                f"{counts.demonstrations:,} with a demonstration · {counts.held_out:,} held out",
            ),
            "completions": (
                counts.completions,
                f"{counts.rankable:,} prompts have two or more" if counts.completions else "nothing sampled yet",
            ),
            "rankings": (counts.rankings, _pairs_in_words(progress)),
            "runs": (progress.runs, _runs_in_words(progress)),
            "exports": (
                len(progress.exported),
                f"newest: run {progress.exported[-1]}" if progress.exported else "nothing exported yet",
            ),
        }
        for stage in STAGES:
            count, detail = details[stage.name]
            row = self.query_one(f"#stage-{stage.name}", StageRow)
            row.state = StageState(count, detail, is_next=step.stage == stage.name)
            if row.state.is_next and not self._moved:
                row.focus()
        self.query_one("#advice", Static).update(
            Content.assemble(("next  ", "bold $accent"), (step.sentence, "$strong"))
        )

    # -- keys

    def why_not(self, action: str) -> str:
        if action == "last_run" and not self._runs:
            return "There is no run yet: t trains one, 4 samples."
        return ""

    def action_move(self, rows: int) -> None:
        self._moved = True
        stages = list(self.query(StageRow))
        at = next((place for place, row in enumerate(stages) if row.has_focus), -1)
        stages[(at + rows) % len(stages)].focus()

    def action_edge(self, place: int) -> None:
        list(self.query(StageRow))[place].focus()

    def action_open(self) -> None:
        if isinstance(self.focused, StageRow):
            self.focused.choose()

    @on(StageRow.Chosen)
    def _go(self, message: StageRow.Chosen) -> None:
        if message.stage.mode:
            self.post_message(GoTo(message.stage.mode))
        else:
            self.action_train()

    def action_train(self) -> None:
        self.post_message(OpenTrain())

    def action_last_run(self) -> None:
        active = self.bench_app.active
        self.post_message(OpenRun(active.run_id if active is not None else self._runs[-1][0].id))


def _pairs_in_words(progress: Progress) -> str:
    if not progress.pairs and progress.counts.waiting:
        return progress.wait
    if not progress.pairs:
        from workbench.next_step import identical  # late: it is not there before the first paint

        return identical(progress.alike) if progress.alike else "nothing ranked yet"
    return f"{progress.pairs:,} preference pairs · {progress.new_pairs:,} of them new to training"


def _runs_in_words(progress: Progress) -> str:
    if progress.working:
        return f"run {progress.working} is at work"
    return f"newest model: run {progress.newest}" if progress.newest else "nothing trained yet"
