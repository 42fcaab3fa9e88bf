"""Export: pick a run, tick what to write, see what it needs, and read how each part did in its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from screens.base import BenchScreen
from screens.messages import OpenChat, OpenCompare, OpenRun, ProjectChanged, RunLaunched
from screens.safe import line
from screens.widgets.facts import Facts
from screens.widgets.panel import Empty, Panel
from screens.widgets.records import Cell, Column, Records
from workbench.blind import last_heard
from workbench.exported import (
    USUAL,
    Checked,
    Choice,
    Part,
    adapter_bytes,
    byte_plan,
    checked_in_words,
    choices,
    exportable_runs,
    orders_of,
    parts,
    refusal,
)
from workbench.hardware import disk_free, human_bytes

if TYPE_CHECKING:
    from workbench.runs import Run


ABOUT_FROM = 76
"""Columns from which the list of kinds says what each is for; below, a line under it does for the highlighted one."""


@dataclass
class ExportsKnown(Message):
    """The runs that can be exported, what they can become, and what was exported before."""

    runs: list[Run]
    choices: dict[str, list[Choice]]
    """By the run's id."""
    refusals: dict[str, str]
    """Why something cannot be exported, by the run's id."""
    parts: list[Part]
    free: int
    working: str = ""
    """The export run that works or waits now."""
    last: str = ""
    """The newest export run, whatever became of it."""


@dataclass(frozen=True)
class Tick:
    """A row of the list of targets."""

    choice: Choice
    on: bool


class ExportScreen(BenchScreen):
    """Take a model with you, checked."""

    PLACE = "export"
    CSS_PATH = "export.tcss"
    AUTO_FOCUS = "#export-runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "tick", "tick", id="export.tick", tooltip="Write the highlighted kind of file, or not."),
        Binding("x", "start", "export", id="export.start", tooltip="Write what is ticked, and check each part."),
        Binding("c", "chat", "chat", id="export.chat", tooltip="Talk with the highlighted GGUF file, or with the run."),
        Binding(
            "b", "compare", "blind", id="export.compare", tooltip="Hear the file blind beside the run it is made from."
        ),
        Binding("tab", "app.focus_next", "next list", id="export.next", tooltip="Go to the next list."),
        Binding("r", "watch", "progress", id="export.watch", tooltip="Show the export at work, else the newest."),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._wanted: str | None = None
        self._newest: str | None = None
        self._newest_part: str | None = None
        self._known = ExportsKnown([], {}, {}, [], 0)
        self._ticked = set(USUAL)

    def content(self) -> ComposeResult:
        with Horizontal(id="export-order"):
            with Panel(title="model", id="export-models"):
                yield Records[RunRow](
                    (Column("run", 4), Column("method", 6), Column("name")),
                    lambda row: (
                        line(row.run.id),
                        line(row.run.job.action),
                        line(row.run.job.name or row.run.job.base.name),
                    ),
                    key=lambda row: row.run.id,
                    id="export-runs",
                )
                yield Empty("No run has a finished model yet.", "6", "to see runs", id="export-none")
            with Panel(title="write", id="export-targets"):
                yield Records[Tick](
                    (
                        Column("", 3),
                        Column("kind", 9),
                        Column("size", 9, "right"),
                        Column("about", from_width=ABOUT_FROM),
                    ),
                    _tick_cells,
                    key=lambda tick: tick.choice.name,
                    header=False,
                    id="export-kinds",
                )
                yield Static(id="export-room")
        with Panel(title="exported", id="export-made"), Vertical():
            yield Records[Part](PART_COLUMNS, _part_cells, key=lambda part: part.name, id="export-parts")
            yield Facts(id="export-checks")
            yield Empty("Nothing exported yet.", "x", "to write what is ticked", id="export-nothing")

    def reload(self) -> None:
        self._load()

    @work(thread=True, exclusive=True, group="exports")
    def _load(self) -> None:
        from workbench import bases
        from workbench.errors import BaseModelError

        runs = exportable_runs(self.bench)
        found: dict[str, list[Choice]] = {}
        refusals: dict[str, str] = {}
        for run in runs:
            found[run.id], refusals[run.id] = [], refusal(run)
            if refusals[run.id]:
                continue
            try:
                base = bases.resolve(run.job.base.path)
                found[run.id] = choices(base, adapter_bytes=adapter_bytes(run))
                refusals[run.id] = f"no GGUF: {base.exportable}" if base.exportable else ""
            except BaseModelError as error:
                refusals[run.id] = str(error)
        exports = self.bench.runs.all("export")
        working = next((run.id for run in exports if run.status().alive), "")
        last = exports[-1].id if exports else ""
        free = disk_free(self.bench.paths.exports)
        self.post_message(ExportsKnown(runs, found, refusals, parts(self.bench), free, working, last))

    def on_exports_known(self, message: ExportsKnown) -> None:
        self._known = message
        runs = self.query_one("#export-runs", Records)
        runs.records = [RunRow(run) for run in message.runs]
        runs.display = bool(message.runs)
        self.query_one("#export-none").display = not message.runs
        newest = message.runs[0].id if message.runs else None
        if newest != self._newest:  # what has just been trained is what a person comes here for
            self._newest, self._wanted = newest, self._wanted or newest
        if self._wanted is not None:
            runs.select(self._wanted)
            self._wanted = None
        made = self.query_one("#export-parts", Records)
        made.records = message.parts
        made.display = bool(message.parts)
        self._show_newest_part(made)
        at_work = f"run {message.working} is writing and checking: r shows it, x there stops it"
        at_work = at_work if message.working else ""
        self.query_one("#export-made", Panel).note(at_work if message.parts else "")
        nothing = self.query_one("#export-nothing", Empty)
        nothing.display = not message.parts
        if message.working:
            nothing.say(f"Run {message.working} is writing and checking.", "r", "to see how far it is, or to stop it")
        else:
            nothing.say("Nothing exported yet.", *(("x", "to write what is ticked") if message.runs else ()))
        self._show_choices()

    def _show_newest_part(self, made: Records[Part]) -> None:
        """Puts the cursor on what has just been exported, or has just failed: it is what a person waits for."""
        newest = made.records[0] if made.records else None
        name = f"{newest.name} {newest.created}" if newest is not None else ""
        if self._newest_part not in (None, name) and newest is not None:
            made.select(newest.name)
        self._newest_part = name

    def choose_source(self, run_id: str | None) -> None:
        """Puts the cursor on a run, now or once the runs are read."""
        self._wanted = run_id
        self.reload()

    @on(Records.Highlighted, "#export-parts")
    def _show_checks(self, message: Records.Highlighted[Part]) -> None:
        found = [] if message.record is None else checked_in_words(message.record)
        heard = None if message.record is None else last_heard(self.bench, message.record)
        found += [] if heard is None else [Checked("by ear", heard.sentence)]
        self.query_one(Facts).facts = [(f"  {check.name}", _beside_mark(check)) for check in found]
        self.refresh_bindings()

    # -- what is chosen

    @property
    def run_chosen(self) -> Run | None:
        row = self.query_one("#export-runs", Records).record
        return row.run if row is not None else None

    @property
    def chosen(self) -> list[Choice]:
        return [tick.choice for tick in self.query_one("#export-kinds", Records).records if tick.on]

    @on(Records.Highlighted, "#export-kinds")
    def _other_kind(self) -> None:
        self._show_room(self.run_chosen)

    @on(Records.Highlighted, "#export-runs")
    def _other_run(self) -> None:
        self._show_choices()

    def _show_choices(self) -> None:
        run = self.run_chosen
        found = self._known.choices.get(run.id, []) if run is not None else []
        kinds = self.query_one("#export-kinds", Records)
        kinds.records = [Tick(choice, choice.name in self._ticked) for choice in found]
        self.query_one("#export-targets", Panel).note(", ".join(choice.name for choice in self.chosen))
        self._show_room(run)
        self.refresh_bindings()

    def _show_room(self, run: Run | None) -> None:
        refused = self._known.refusals.get(run.id, "") if run is not None else ""
        offered = [tick.choice for tick in self.query_one("#export-kinds", Records).records]
        plan = byte_plan(self.chosen, offered)
        fits = plan.needed < self._known.free
        wide = self.query_one("#export-kinds").size.width >= ABOUT_FROM + 3
        said = Content.assemble(
            (f"run {run.id} needs " if run is not None else "", "$quiet"),
            (human_bytes(plan.needed), "$strong" if fits else "bold $error"),
            (f" of {human_bytes(self._known.free)} free", "$quiet"),
            ("" if fits else "  ✗ too little room", "bold $error"),
            (f"  ({plan.parts})" if wide and fits else "", "$quiet"),
        )
        tick: Tick | None = self.query_one("#export-kinds", Records).record
        if refused:
            said = Content("\n").join([line(refused, "$accent"), said])
        elif tick is not None and not wide:
            said = Content("\n").join([Content.styled(tick.choice.about, "$quiet"), said])
        self.query_one("#export-room", Static).update(said if run is not None else Content())

    # -- keys

    def why_not(self, action: str) -> str:
        if not self.is_mounted:
            return ""
        if action in ("start", "tick") and self.run_chosen is None:
            return "No run has a finished model yet: train one first."
        if action == "start" and not self.chosen:
            return "Nothing is ticked: press space on a kind of file."
        if action == "chat" and not self._chat_with():
            return "That file cannot be chatted with: choose a verified GGUF file, or a run."
        if action == "compare" and self._comparable() is None:
            if not self._known.parts:
                return "Nothing is exported yet that could be heard beside its run."
            return "Choose a verified GGUF file whose run is still there; tab goes to it."
        if action == "watch" and not self._known.last:
            return "There is no export yet: x starts one."
        return ""

    def action_tick(self) -> None:
        kinds = self.query_one("#export-kinds", Records)
        if kinds.record is None:
            return
        self._ticked ^= {kinds.record.choice.name}
        kinds.focus()
        self._show_choices()

    @on(Records.Chosen, "#export-kinds")
    def _tick_by_enter(self) -> None:
        self.action_tick()

    @on(Records.Chosen, "#export-runs")
    def _to_kinds(self) -> None:
        self.query_one("#export-kinds").focus()

    def action_start(self) -> None:
        run = self.run_chosen
        if run is not None and self.chosen:
            self._start(run.id, self.chosen)

    @work(thread=True, exclusive=True, group="order")
    def _start(self, run_id: str, chosen: list[Choice]) -> None:
        from workbench import orders

        for target, changes in orders_of(chosen):
            exported = orders.export(self.bench, run_id, target, changes=changes)
            self.bench.runs.launch(exported)
            self.post_message(RunLaunched(exported.id))
        self.post_message(ProjectChanged(f"exporting run {run_id}: {', '.join(choice.name for choice in chosen)}"))

    def _chat_with(self) -> str:
        """The file under the cursor in the list of exports, elsewhere the chosen run; '' where there is neither."""
        made = self.query_one("#export-parts", Records)
        part: Part | None = made.record
        if made.has_focus and part is not None:
            return str(part.path) if part.is_gguf and part.verified else ""
        return self.run_chosen.id if self.run_chosen is not None else ""

    def action_chat(self) -> None:
        self.post_message(OpenChat(self._chat_with()))

    def _comparable(self) -> Part | None:
        """The file under the cursor, if it and the run it was made from can both be asked."""
        part: Part | None = self.query_one("#export-parts", Records).record
        if part is None or not part.is_gguf or not part.verified:
            return None
        return part if any(run.id == part.run for run in self._known.runs) else None

    def action_compare(self) -> None:
        part = self._comparable()
        if part is not None:
            self.post_message(OpenCompare(part))

    def action_watch(self) -> None:
        shown = self._known.working or self._known.last
        if shown:
            self.post_message(OpenRun(shown))


@dataclass(frozen=True)
class RunRow:
    """A run in the list of models."""

    run: Run


TABLE_FROM = 120
"""Columns from which the list of exports is the whole table of checks; below, the lines under it say the rest."""

PART_COLUMNS = (
    Column("run", 4),
    Column("file", share=2),
    Column("size", 8, "right"),
    Column("check", 10),
    Column("same tokens", 11, "right"),
    Column("mark", 7, from_width=TABLE_FROM),
    Column("KL", 9, "right", from_width=90),
    Column("mark", 8, from_width=TABLE_FROM),
    Column("stops", 6, "right", from_width=TABLE_FROM),
    Column("mark", 7, from_width=TABLE_FROM),
    Column("in exports/", from_width=TABLE_FROM, share=3),
)


def _tick_cells(tick: Tick) -> tuple[Cell, ...]:
    mark = Content.styled("[✓]", "bold $primary") if tick.on else Content.styled("[ ]", "$quiet")
    return (
        mark,
        Content(tick.choice.name),
        human_bytes(tick.choice.size_bytes),
        Content.styled(tick.choice.about, "$quiet"),
    )


def _part_cells(part: Part) -> tuple[Cell, ...]:
    agreement, kl = part.figure("greedy_agreement"), part.figure("mean_kl")
    least, most = part.figure("mark_agreement"), part.figure("mark_kl")
    stops, fewest = part.figure("share", "stops"), part.figure("mark_share", "stops")
    passed = Content.styled("✓ verified", "$success") if part.verified else Content.styled("✗ failed", "bold $error")
    return (
        line(part.run),
        line(part.path.name),
        human_bytes(part.size_bytes),
        passed,
        "" if agreement is None else f"{agreement:.2%}",
        _quiet("" if least is None else f"≥ {least:.1%}"),
        "" if kl is None else f"{kl:.1e}",
        _quiet("" if most is None else f"≤ {most:g}"),
        "" if stops is None else f"{stops:.0%}",
        _quiet("" if fewest is None else f"≥ {fewest:.0%}"),
        line(part.path.parent.name, "$quiet"),
    )


def _quiet(text: str) -> Content:
    return Content.styled(text, "$quiet")


def _beside_mark(check: Checked) -> Content:
    """What a check gave, after the sign of whether it reached its mark."""
    signs = {True: ("✓ ", "$success"), False: ("✗ ", "bold $error"), None: ("  ", "")}
    return Content.styled(*signs[check.passed]) + line(check.said, limit=600)
