"""Data: what was imported, and the prompts, demonstrations and pairs there are, with a viewer beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widgets import Static

from screens.reading import ReadingScreen
from screens.safe import line, plain
from screens.widgets.filtered import Filtered
from screens.widgets.lengths import LengthChart
from screens.widgets.panel import Empty, Panel
from screens.widgets.records import Cell, Column, Records
from workbench.errors import WorkbenchError
from workbench.records import Conversation, Demonstration, ImportReport, Pair, Prompt

if TYPE_CHECKING:
    from screens.importing import ImportDone
    from workbench.lengths import Spread
    from workbench.next_step import NextStep, Progress

Kind = Literal["prompts", "demonstrations", "pairs", "held out", "imports"]
KINDS: tuple[Kind, ...] = ("prompts", "demonstrations", "pairs", "held out", "imports")
Record = Prompt | Demonstration | Pair | ImportReport

MOST_ROWS = 2_000
"""Rows read at a time; `/` asks the store for those with a text in them."""


@dataclass
class RowsRead(Message):
    """Rows of one kind, as the store has them."""

    kind: Kind
    rows: Sequence[Record]
    counts: dict[str, int]


@dataclass
class LengthsKnown(Message):
    """Rows of one kind are measured; `error` where the base's tokenizer cannot be used."""

    kind: Kind
    spread: Spread | None
    error: str = ""


class KindRow(Static):
    """The kinds in a row, the current one marked. Clicking one shows it."""

    ALLOW_SELECT = False
    _counts: Mapping[str, int] = MappingProxyType({})

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._current: Kind = KINDS[0]
        self.auto_links = False  # the terminal's own colours would make it blue on blue

    def show(self, current: Kind, counts: Mapping[str, int]) -> None:
        """Marks a kind and says how many there are of each; counts that were known stay until there are newer ones."""
        self._current, self._counts = current, {**self._counts, **counts}
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        """All in a row, or in two: a kind stays beside its count."""
        parts = []
        for kind in KINDS:
            style = "bold $strong on $cursor-line" if kind == self._current else "$quiet"
            count = f" {self._counts[kind]:,}" if kind in self._counts else ""
            part = Content.assemble((f" {kind}", style), (f"{count} ", f"{style}"))
            parts.append(part.stylize(Style.from_meta({"@click": f"screen.show({kind!r})"})))  # our own constant
        row = Content(" ").join(parts)
        if 0 < self.size.width < row.cell_length:
            row = Content("\n").join([Content(" ").join(parts[:2]), Content(" ").join(parts[2:])])
        self.update(row)


class DataScreen(ReadingScreen):
    """The project's data, one kind at a time."""

    PLACE = "data"
    CSS_PATH = "data.tcss"
    AUTO_FOCUS = "Records"
    READS = "#record-scroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "import", "import", id="data.import", tooltip="Import a file of prompts, answers or preferences."),
        Binding(
            "tab,right_square_bracket",
            "turn(1)",
            "next kind",
            id="data.next",
            tooltip="Show the next kind of data.",
        ),
        Binding(
            "shift+tab,left_square_bracket",
            "turn(-1)",
            "kind before",
            show=False,
            id="data.before",
            tooltip="Show the kind of data before.",
        ),
        Binding(
            "l",
            "lengths",
            "lengths",
            id="data.lengths",
            tooltip="Show how long rows are and what would be cut, or not.",
        ),
        Binding(
            "v",
            "hidden",
            "invisible",
            show=False,
            id="data.hidden",
            tooltip="Show or hide marks for invisible characters.",
        ),
        Binding("q,escape", "leave", "back", id="data.leave", tooltip="Go back to Home."),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._kind: Kind = "prompts"
        self._hidden = True
        self._counts: dict[str, int] = {}
        self._measured: tuple[Kind, int, str] | None = None

    def content(self) -> ComposeResult:
        rows: Records[Record] = Records((Column(""), Column("", 18, from_width=70)), _cells, key=_key, header=False)
        with Panel(title="data", id="data-panel"):
            yield KindRow(id="kinds")
            yield Filtered(rows, empty=Empty("There is no data in this project yet.", "i", "to import a file."))
        with Vertical(id="data-side"):
            with Panel(title="record", id="record-panel"), VerticalScroll(can_focus=False, id="record-scroll"):
                yield Static(id="record")
            with Panel(title="lengths", id="lengths-panel"):
                yield LengthChart()

    def on_mount(self) -> None:
        self.query_one(KindRow).show(self._kind, {})

    def know(self, progress: Progress, step: NextStep) -> None:
        self.query_one(KindRow).show(self._kind, {"pairs": progress.pairs})

    # -- loading

    def reload(self) -> None:
        self._read(self._kind, self.query_one(Filtered).text)

    @work(thread=True, exclusive=True, group="data")
    def _read(self, kind: Kind, search: str) -> None:
        from workbench import orders

        store = self.bench.store
        counts = store.counts()
        rows: Sequence[Record]
        imported = store.imports()
        numbers = {
            "prompts": counts.prompts,
            "demonstrations": counts.demonstrations,
            "held out": counts.held_out,
            "imports": len(imported),
        }
        if kind == "prompts":
            rows = store.prompts("train", search=search, limit=MOST_ROWS)
        elif kind == "held out":
            rows = store.prompts("held_out", search=search, limit=MOST_ROWS)
        elif kind == "demonstrations":
            rows = store.demonstrations(search=search, limit=MOST_ROWS)
        elif kind == "pairs":
            found = orders.pairs(self.bench)
            numbers["pairs"] = len(found)
            rows = [pair for pair in reversed(found) if search.lower() in _text(pair.prompt).lower()][:MOST_ROWS]
        else:
            rows = [report for report in imported if search.lower() in report.path.lower()]
        self.post_message(RowsRead(kind, rows, numbers))

    def on_rows_read(self, message: RowsRead) -> None:
        self.query_one(KindRow).show(message.kind, message.counts)
        self._counts = message.counts
        self._measure_if_shown()
        empty = self.query_one(Empty)
        if message.kind == "pairs":
            empty.say("There are no preference pairs yet: they are made by ranking answers.", "5", "to rank.")
        else:
            empty.say(f"There are no {message.kind} in this project yet.", "i", "to import a file.")
        self.query_one(Filtered).show(message.rows)
        more = len(message.rows) == MOST_ROWS
        self.query_one("#data-panel", Panel).note(f"the first {MOST_ROWS:,}, / finds the rest" if more else "")

    # -- lengths

    def on_resize(self) -> None:
        self.call_after_refresh(self._measure_if_shown)

    def action_lengths(self) -> None:
        """Where there is room for both, lengths are below the record unless sent away; else the two take turns."""
        self.toggle_class("-other")
        self.call_after_refresh(self._measure_if_shown)

    def _measure_if_shown(self) -> None:
        wanted = (self._kind, self._counts.get(self._kind, 0), self.bench.base)
        if not self.query_one("#lengths-panel").display or not self._counts or wanted == self._measured:
            return
        self._measured = wanted
        chart = self.query_one(LengthChart)
        chart.spread, chart.said = None, "Imports have no lengths." if self._kind == "imports" else "Counting tokens …"
        if self._kind != "imports":
            self._measure(self._kind)

    @work(thread=True, exclusive=True, group="lengths")
    def _measure(self, kind: Kind) -> None:
        from workbench import lengths

        if kind == "imports":
            return
        try:
            self.post_message(LengthsKnown(kind, lengths.measure(self.bench, kind)))
        except WorkbenchError as error:  # no reason to hide the data: said where the lengths would be
            self.post_message(LengthsKnown(kind, None, str(error)))

    def on_lengths_known(self, message: LengthsKnown) -> None:
        if message.kind == self._kind:
            chart = self.query_one(LengthChart)
            chart.spread, chart.said = message.spread, message.error

    @on(Filtered.FilterChanged)
    def _search(self, message: Filtered.FilterChanged[Record]) -> None:
        self._read(self._kind, message.text)

    # -- reading

    @on(Records.Highlighted)
    def _show_record(self, message: Records.Highlighted[Record]) -> None:
        text = record_text(message.record, hidden=self._hidden) if message.record is not None else Content("")
        self.query_one("#record", Static).update(text)
        self.query_one("#record-scroll", VerticalScroll).scroll_home(animate=False)

    def action_hidden(self) -> None:
        self._hidden = not self._hidden
        rows = self.query_one(Records)
        if rows.record is not None:
            self.query_one("#record", Static).update(record_text(rows.record, hidden=self._hidden))

    def action_turn(self, by: int) -> None:
        self.action_show(KINDS[(KINDS.index(self._kind) + by) % len(KINDS)])

    def action_show(self, kind: Kind) -> None:
        self._kind = kind
        self.query_one(KindRow).show(kind, {})
        self.reload()

    # -- importing

    def action_import(self) -> None:
        from screens.importing import ImportScreen

        self.app.push_screen(ImportScreen(self.bench), self._imported)

    def _imported(self, done: ImportDone | None) -> None:
        if done is not None:
            self._kind = done.kind
            self.bench_app.on_project_changed(done.change)


def _text(turns: Conversation) -> str:
    return turns[-1].content if turns else ""


def _key(record: Record) -> object:
    if isinstance(record, Prompt | Demonstration):
        return type(record).__name__, record.id
    return record.sha256 if isinstance(record, ImportReport) else (record.ranking_id, record.chosen, record.rejected)


def _cells(record: Record) -> tuple[Cell, ...]:
    if isinstance(record, Prompt):
        return line(record.text), line(record.kind, "$quiet")
    if isinstance(record, Demonstration):
        return line(record.prompt.text), line(record.prompt.kind or record.origin, "$quiet")
    if isinstance(record, Pair):
        return line(_text(record.prompt)), line(record.judge, "$quiet")
    return line(Path(record.path).name), Content.styled(_report_in_words(record), "$quiet")


def _report_in_words(report: ImportReport) -> str:
    rejected = f" · {len(report.rejected):,} ✗" if report.rejected else ""
    return f"{report.rows_ok:,} ok{rejected}"


def record_text(record: Record, *, hidden: bool = True) -> Content:
    """A record in full, its parts under quiet headings."""
    if isinstance(record, ImportReport):
        return _report_text(record)
    if isinstance(record, Pair):
        parts = [_turns(record.prompt, hidden), _part("✓ chosen", record.chosen, "$success", hidden)]
        return Content("\n\n").join([*parts, _part("✗ rejected", record.rejected, "$accent", hidden)])
    if isinstance(record, Demonstration):
        answer = _part("demonstration", record.text, "$success", hidden)
        return Content("\n\n").join([_turns(record.prompt.turns, hidden), answer])
    parts = [_turns(record.turns, hidden)]
    if record.answer is not None:
        parts.append(_part("known answer", record.answer, "$success", hidden))
    return Content("\n\n").join(parts)


def _turns(turns: Conversation, hidden: bool) -> Content:
    return Content("\n\n").join(_part(turn.role, turn.content, "$primary", hidden) for turn in turns)


def _part(name: str, text: str, style: str, hidden: bool) -> Content:
    return Content("\n").join([Content.styled(name, style), plain(text, hidden=hidden)])


def _report_text(report: ImportReport) -> Content:
    facts = [
        ("file", report.path),
        ("layout", report.layout + (f" (it could also be {report.runner_up})" if report.runner_up else "")),
        ("rows", f"{report.rows_ok:,} imported, {len(report.rejected):,} rejected"),
        ("added", ", ".join(f"{count:,} {what}" for what, count in report.added.items())),
        ("sha256", report.sha256[:16]),
    ]
    lines = [Content.assemble((f"{name:<8}", "$quiet"), plain(value, limit=400)) for name, value in facts]
    if report.rejected:
        lines.append(Content.styled("\nrejected rows", "$accent"))
        lines += [Content.assemble((f"line {number:<6}", "$quiet"), line(why)) for number, why in report.rejected[:500]]
    return Content("\n").join(lines)
