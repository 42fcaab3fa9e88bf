"""Runs: every run with its state and figures; beside it its order, where it comes from, and its notes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from screens.active import stopping_words
from screens.messages import OpenChat, OpenExport, OpenRun, OpenSample, OpenTrain, ProjectChanged
from screens.reading import ReadingScreen
from screens.safe import line
from screens.sources import why_no_model
from screens.widgets.filtered import Filtered
from screens.widgets.lineage import STATE_STYLE
from screens.widgets.panel import Empty, Panel
from screens.widgets.records import Cell, Column, Records
from screens.widgets.run_details import comparison, details
from screens.widgets.status import duration
from workbench.charts.ticks import number
from workbench.hardware import human_bytes
from workbench.runs.lineage import descendants, tree
from workbench.runs.table import RunRow, RunTable

REFRESH_SECONDS = 2.0
"""How often the list is looked at again while a run works."""

COLUMNS = (
    Column("", 1),
    Column("run", 4),
    Column("state", 11),
    Column("does", share=6),
    Column("from", 8, from_width=74),
    Column("steps", 11, "right"),
    Column("loss", 7, "right"),
    Column("held out", 8, "right", from_width=84),
    Column("", 16, from_width=120),
    Column("left", 7, "right", from_width=100),
    Column("age", 7, "right", from_width=70),
)


TREE_COLUMNS = tuple(
    dataclasses.replace(column, from_width=100) if column.label == "from" else column for column in COLUMNS
)
"""In the tree the branches say where a run comes from."""

OPEN = ("open", "Show the run: charts, log, samples.")


@dataclass
class RunsListed(Message):
    """The runs have been looked at; `complete` once all figures are in."""

    rows: Sequence[RunRow]
    complete: bool


class RunsScreen(ReadingScreen):
    """The list of runs."""

    PLACE = "runs"
    CSS_PATH = "runs.tcss"
    AUTO_FOCUS = "Records"
    READS = "#runs-scroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,t", "train", "new", id="runs.new", tooltip="Fill in the form for a training run."),
        Binding("x", "stop", "stop", id="runs.stop", tooltip="Stop after this step, or leave the queue."),
        Binding("r", "resume", "resume", id="runs.resume", tooltip="Go on from the last checkpoint."),
        Binding("s", "sample", "sample", id="runs.sample", tooltip="Sample answers from this run's model."),
        Binding("m", "mark", "compare", id="runs.mark", tooltip="Mark this run; two marked runs are compared."),
        Binding("e", "export", "export", show=False, id="runs.export", tooltip="Export this run's model."),
        Binding("c", "chat", "chat", show=False, id="runs.chat", tooltip="Chat with this run's model."),
        Binding(
            "v", "tree", "tree", show=False, id="runs.tree", tooltip="Show which run came from which, or newest first."
        ),
        Binding("i", "about", "about", show=False, id="runs.about", tooltip="Show what the run is about, or the list."),
        Binding("d", "delete", "delete", show=False, id="runs.delete", tooltip="Delete this run, after a yes."),
        Binding("y", "confirm", "yes", id="runs.yes", tooltip="Yes, delete it for good."),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._table = RunTable()
        self._rows: Sequence[RunRow] = ()
        self._marked: list[str] = []
        self._condemned = ""
        self._branches: dict[str, str] | None = None
        """In the tree view what is drawn before each run."""
        self._looking = False
        self._look_once_more = False

    def content(self) -> ComposeResult:
        rows: Records[RunRow] = Records(COLUMNS, self._cells, key=lambda row: row.id, enter=OPEN)
        with Horizontal():
            empty = Empty("No runs yet.", "n", "to train the first one")
            yield Filtered(rows, empty=empty, matches=lambda row: row.text)
            with Panel(title="about", id="runs-about"), VerticalScroll(can_focus=False, id="runs-scroll"):
                yield Static(id="runs-details")

    def on_mount(self) -> None:
        self.set_interval(REFRESH_SECONDS, self._look_again)

    # -- loading

    def reload(self) -> None:
        self._list()

    def _look_again(self) -> None:
        if self.in_front and any(row.status.alive for row in self._rows):
            self._list()

    def _list(self) -> None:
        """Looks at the runs; once more afterwards where that was asked for while it looked."""
        self._look_once_more = self._looking
        if not self._looking:
            self._looking = True
            self._look()

    @work(thread=True, group="runs")
    def _look(self) -> None:
        """First what is known at once, then the figures that take reading."""
        try:
            runs = self.bench.runs.all()
            self.post_message(RunsListed(self._table.quick(runs), False))
            self.post_message(RunsListed(self._table.full(runs), True))
        finally:
            self._looking = False

    def on_runs_listed(self, message: RunsListed) -> None:
        if message.complete and self._look_once_more:
            self._list()
        self._rows = self._ordered(message.rows)
        self.query_one(Filtered).show(self._rows)
        self.refresh_bindings()

    def _ordered(self, rows: Sequence[RunRow]) -> Sequence[RunRow]:
        """Newest first; in the tree view each under the run that it started from, the oldest first."""
        if self._branches is None:
            return sorted(rows, key=lambda row: int(row.id), reverse=True)
        by_id = {row.id: row for row in sorted(rows, key=lambda row: int(row.id))}
        nodes = tree([row.job for row in by_id.values()])
        self._branches = {node.job.run: node.branch for node in nodes}
        return [by_id[node.job.run] for node in nodes]

    def action_tree(self) -> None:
        self._branches = {} if self._branches is None else None
        self.query_one(Records).columns = COLUMNS if self._branches is None else TREE_COLUMNS
        self._rows = self._ordered(self._rows)
        self.query_one(Filtered).show(self._rows)

    # -- drawing

    def _cells(self, row: RunRow) -> Sequence[Cell]:
        status, job, figures = row.status, row.job, row.figures
        style = STATE_STYLE.get(status.state, "$quiet")
        steps = (
            f"{status.step:,}/{status.total_steps:,}"
            if status.total_steps
            else f"{status.step:,}"
            if status.step
            else ""
        )
        source = (job.parent and f"run {job.parent}") or job.base.name
        return (
            Content.styled("◆" if row.id in self._marked else " ", "$accent"),
            Content.styled(row.id, "$strong"),
            Content.styled(f"{status.glyph} {status.state}", style),
            Content.styled((self._branches or {}).get(row.id, ""), "$quiet") + line(row.does),
            line(source, "$quiet"),
            steps,
            Content.styled(_loss(row), "$strong"),
            "" if figures.held_out is None else number(figures.held_out),
            Content.styled(figures.spark, "$primary"),
            duration(figures.eta_seconds) if status.alive and figures.eta_seconds is not None else "",
            Content.styled(duration(max(0.0, time.time() - job.created)), "$quiet"),
        )

    @property
    def row(self) -> RunRow | None:
        """The highlighted run."""
        found: RunRow | None = self.query_one(Records).record
        return found

    @on(Records.Highlighted)
    def _highlighted(self) -> None:
        if self.row is None or self.row.id != self._condemned:  # also told of the same row, when the list is drawn anew
            self._condemned = ""
        self._show_details()
        self.refresh_bindings()

    def _show_details(self) -> None:
        row = self.row
        about = self.query_one("#runs-details", Static)
        marked = [found for found in self._rows if found.id in self._marked]
        if row is None:
            about.update("")
        elif self._condemned == row.id:
            about.update(_question(row))
        elif len(marked) == 2:
            about.update(comparison(marked[1], marked[0]))
        else:
            about.update(details(row, self._rows, self.bench_app.base_name))

    # -- keys

    @on(Records.Chosen)
    def _open(self) -> None:
        if self.row is not None:
            self.post_message(OpenRun(self.row.id))

    def action_train(self) -> None:
        self.post_message(OpenTrain())

    def action_stop(self) -> None:
        if self.row is not None:
            told = stopping_words(self.row.run)
            self.bench.runs.stop(self.row.run)
            self.notice(told)
            self._list()

    @work(thread=True, group="runs-resume")
    def action_resume(self) -> None:
        if self.row is not None:
            self.bench.runs.resume(self.row.run)
            self.post_message(ProjectChanged(f"Run {self.row.id} goes on."))

    def action_sample(self) -> None:
        if self.row is not None:
            self.post_message(OpenSample(self.row.id))

    def action_export(self) -> None:
        if self.row is not None:
            self.post_message(OpenExport(self.row.id))

    def action_chat(self) -> None:
        if self.row is not None:
            self.post_message(OpenChat(self.row.id))

    def action_mark(self) -> None:
        if self.row is None:
            return
        if self.row.id in self._marked:
            self._marked.remove(self.row.id)
        else:
            self._marked = [*self._marked[-1:], self.row.id]
        self.query_one(Filtered).show(self._rows)
        self._show_details()
        if len(self._marked) == 2:
            beside = self.has_class("-wide")
            if not beside:
                self._open_about()
            back = "m takes a mark back" if beside else "esc goes back to the list"
            self.notice(f"Runs {' and '.join(self._marked)} side by side; {back}.")
        elif self._marked:
            self.notice(f"Run {self._marked[0]} is marked; m on another one compares the two.")

    def action_about(self) -> None:
        """On a narrow screen the list and what a run is about take turns."""
        if self.has_class("-about"):
            self._close_about()
        else:
            self._open_about()

    def _open_about(self) -> None:
        """Where the text takes the list's place it takes the keys too: a hidden list must not have them."""
        self.add_class("-about")
        if not self.has_class("-wide"):
            self.query_one("#runs-about", Panel).note("esc back to the list")
            self.text.can_focus = True
            self.text.focus()

    def _close_about(self) -> None:
        self.remove_class("-about")
        self.query_one("#runs-about", Panel).note("")
        self.text.can_focus = False
        self.query_one(Records).focus()

    def action_delete(self) -> None:
        if self.row is not None:
            self._condemned = self.row.id
            self._open_about()
            self._show_details()
            self.refresh_bindings()

    def action_confirm(self) -> None:
        row = self.row
        if row is not None and self._condemned == row.id:
            self._condemned = ""
            self._close_about()
            self.bench.runs.delete(row.run)
            self._marked = [run_id for run_id in self._marked if run_id != row.id]
            self.post_message(ProjectChanged(f"Run {row.id} is deleted."))

    def action_leave(self) -> None:
        if self._condemned or self.has_class("-about"):
            self._condemned = ""
            self._close_about()
            self._show_details()
            self.refresh_bindings()
        else:
            super().action_leave()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "confirm" and not self._condemned:
            return False
        return super().check_action(action, parameters)

    def why_not(self, action: str) -> str:
        row = self.row if self.is_mounted and self.query(Records) else None
        if action in ("train", "leave", "confirm", "tree"):
            return ""
        if row is None:
            return "There is no run yet: n starts the first one." if action in _OF_A_RUN else ""
        if action == "stop" and not row.status.alive:
            return f"Run {row.id} is not running."
        if action == "resume" and (row.status.alive or row.status.state == "finished"):
            return f"Run {row.id} is running." if row.status.alive else f"Run {row.id} has finished."
        if action == "delete" and row.status.alive:
            return f"Run {row.id} is running: stop it first."
        if action == "delete" and (children := descendants(row.id, (other.job for other in self._rows))):
            return f"Delete {_some(children)} first: {'they' if len(children) > 1 else 'it'} came from run {row.id}."
        return why_no_model(row.run, action)


_HELD = {"train": "its order and data, events, log, checkpoints and model"}
_KEPT = {
    "train": "What its model wrote, your votes and its exports stay",
    "sample": "The completions it sampled stay",
    "score": "The scores it gave stay",
    "export": "The files it wrote stay",
}
"""What of a run outlives its folder, by its kind."""

_OF_A_RUN = frozenset({"stop", "resume", "sample", "export", "chat", "mark", "delete", "about"})


def _some(runs: Sequence[str], most: int = 3) -> str:
    """The first few of many."""
    shown = sorted(runs)[:most]
    return ", ".join(shown) + (f" and {len(runs) - most} more" if len(runs) > most else "")


def _loss(row: RunRow) -> str:
    """The last loss; nothing for a kind of run that has none."""
    if row.figures.loss is not None:
        return number(row.figures.loss)
    return "–" if row.job.kind == "train" else ""


def _question(row: RunRow) -> Content:
    size = sum(file.stat().st_size for file in row.run.paths.root.rglob("*") if file.is_file())
    return Content.assemble(
        (f"Delete run {row.id} for good?\n\n", "bold $error"),
        f"Its folder holds {human_bytes(size)}: {_HELD.get(row.job.kind, 'its order, events and log')}.\n"
        f"{_KEPT[row.job.kind]} in the project.\n\n",
        ("y", "bold $accent"),
        " deletes it   ",
        ("esc", "bold $accent"),
        " keeps it",
    )
