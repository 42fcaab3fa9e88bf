"""Importing a file: its path, then the guessed layout with parsed rows to check it by; one key takes the runner-up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from screens.messages import ProjectChanged
from screens.safe import line, plain
from screens.widgets.asking import Ask
from screens.widgets.facts import Fact, Facts
from workbench.errors import FormatError, WorkbenchError
from workbench.records import ImportReport, Split

if TYPE_CHECKING:
    from screens.data import Kind
    from workbench.bench import Bench
    from workbench.formats import Parsed
    from workbench.importing import Preview

SHOWN_ROWS = 4
REJECTED_SHOWN = 6
GAP: Fact = ("", Content())


@dataclass(frozen=True)
class ImportDone:
    """A file is in the store: what to show of it."""

    kind: Kind
    change: ProjectChanged


@dataclass
class Previewed(Message):
    """A file's beginning is read."""

    preview: Preview


@dataclass
class Imported(Message):
    """A file is in the store."""

    report: ImportReport


@dataclass
class Refused(Message):
    """The file cannot be read or imported."""

    error: WorkbenchError


class ImportScreen(ModalScreen[ImportDone | None]):
    """Asks for the file, shows what would come of it, and imports it on enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "import", "import", id="import.go", tooltip="Import the file as shown."),
        Binding("s", "swap", "other layout", id="import.swap", tooltip="Read the file in the next layout that fits."),
        Binding(
            "o",
            "held_out",
            "held out",
            id="import.held_out",
            tooltip="Keep these prompts for measuring; they never train.",
        ),
        Binding("p", "path", "other file", id="import.path", tooltip="Choose another file."),
        Binding("escape,q", "cancel", "leave", id="import.leave", tooltip="Go back without importing."),
        Binding("j,down", "scroll(2)", "down", show=False, id="import.down", tooltip="Scroll down."),
        Binding("k,up", "scroll(-2)", "up", show=False, id="import.up", tooltip="Scroll up."),
    ]

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self._preview: Preview | None = None
        self._split: Split = "train"
        self._tried: list[str] = []
        self._busy = False
        self._refused = False

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="import") as sheet:
            sheet.border_title = Content(" import a file ")
            yield Static(
                Content.styled("JSONL, JSON, CSV, parquet or text, also .gz. Tab completes the path.", "$quiet")
            )
            yield Ask("path of the file", id="import-path")
            with VerticalScroll(id="import-scroll", can_focus=True):
                yield Facts(columns=11)

    def on_mount(self) -> None:
        self._hint("enter reads the file · esc back")
        self.query_one(Ask).open()

    def _hint(self, text: str) -> None:
        self.query_one("#sheet", Vertical).border_subtitle = Content(f" {text} ")

    # -- reading the file

    @on(Input.Submitted)
    def _chosen(self, message: Input.Submitted) -> None:
        message.stop()
        if message.value.strip():
            self._tried = []
            self._look(Path(message.value.strip()).expanduser(), None)

    @on(Ask.Closed)
    def _path_left(self) -> None:
        """Back to the file that was read; with none the border's `esc back` is meant as it stands."""
        if self._preview is None:
            self.action_cancel()
        else:
            self._draw()

    @work(thread=True, exclusive=True, group="import")
    def _look(self, path: Path, layout: str | None) -> None:
        from workbench import importing

        try:
            self.post_message(Previewed(importing.preview(path, layout)))
        except WorkbenchError as error:  # this screen's edge: it has no status row
            self.post_message(Refused(error))

    def on_previewed(self, message: Previewed) -> None:
        self._preview, self._refused = message.preview, message.preview.refused
        if message.preview.layout is not None and message.preview.layout.name not in self._tried:
            self._tried.append(message.preview.layout.name)
        self._draw()
        self.query_one("#import-scroll").focus()

    def on_refused(self, message: Refused) -> None:
        if self._busy and isinstance(message.error, FormatError):  # it would be refused again
            self._refused = True
            self._say_keys()
        self._busy = False
        told = [_wrong(plain(message.error.message, "bold"))]
        if message.error.hint:
            told.append((Content(), plain(message.error.hint, "$quiet")))
        self.query_one(Facts).facts = told

    def _draw(self) -> None:
        preview = self._preview
        if preview is None:
            return
        self.query_one(Facts).facts = preview_facts(preview, self._split)
        self._say_keys()

    def _say_keys(self) -> None:
        """The keys that do something now, in the sheet's border."""
        preview = self._preview
        swap = ["s swaps"] if preview is not None and preview.runner_up else []
        if self._can_import:
            keys = ["enter imports", *swap, "o held out" if self._split == "train" else "o training", "p file"]
        else:
            keys = [*swap, "p other file"]
        self._hint(" · ".join([*keys, "esc back"]))
        self.refresh_bindings()

    @property
    def _can_import(self) -> bool:
        return self._preview is not None and self._preview.layout is not None and not self._refused

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("import", "held_out"):
            return True if self._can_import else None
        if action == "swap":
            return True if self._preview is not None and self._preview.runner_up is not None else None
        return True

    def action_swap(self) -> None:
        preview = self._preview
        if preview is not None and preview.runner_up is not None:
            self._look(preview.path, preview.runner_up.name)

    def action_held_out(self) -> None:
        self._split = "held_out" if self._split == "train" else "train"
        self._draw()

    def action_path(self) -> None:
        self.query_one(Ask).open(self.query_one(Ask).value)
        self._hint("enter reads the file · esc back")

    def action_scroll(self, lines: int) -> None:
        self.query_one("#import-scroll", VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_cancel(self) -> None:
        self.dismiss(None)

    def action_import(self) -> None:
        preview = self._preview
        if preview is not None and preview.layout is not None and self._can_import and not self._busy:
            self._busy = True
            self._import(preview.path, preview.layout.name, other_layout(preview))

    @work(thread=True, exclusive=True, group="import")
    def _import(self, path: Path, layout: str, other: str) -> None:
        from workbench import importing

        try:
            report = importing.import_file(self._bench.store, path, layout, self._split, other_layout=other)
            self.post_message(Imported(report))
        except WorkbenchError as error:  # as above
            self.post_message(Refused(error))

    def on_imported(self, message: Imported) -> None:
        report = message.report
        added = ", ".join(f"{count:,} {what}" for what, count in report.added.items()) or "nothing new"
        rejected = f"; {len(report.rejected):,} rejected, see imports" if report.rejected else ""
        kind: Kind = "imports" if report.rejected else "held out" if self._split == "held_out" else "prompts"
        self.dismiss(ImportDone(kind, ProjectChanged(f"{Path(report.path).name}: {added}{rejected}.")))


def other_layout(preview: Preview) -> str:
    """How the person gets another layout here, or another file where no other layout fits."""
    if preview.runner_up is not None:
        return f"press s to read it as {preview.runner_up.label}"
    return "press p for another file: no other layout fits its rows"


def preview_facts(preview: Preview, split: Split) -> list[Fact]:
    """The guess, why, the runner-up, then rows as they would be stored, then those that would be rejected."""
    if preview.layout is None:
        return [_wrong(plain(preview.why))]
    facts: list[Fact] = [
        ("layout", Content.assemble((preview.layout.label, "bold $accent"), "   ", plain(preview.why, "$quiet")))
    ]
    if preview.runner_up is not None:
        facts.append(("or maybe", Content.assemble(preview.runner_up.label, ("   s takes this one", "$quiet"))))
    use = "measuring only: held out, never trained on" if split == "held_out" else "training"
    whole = "" if preview.complete else " (the file's first rows)"
    facts.append(("goes to", Content(use)))
    facts.append(("rows", Content(f"{len(preview.rows):,} good · {len(preview.rejected):,} rejected{whole}")))
    if preview.mostly_bad:
        facts.append(_wrong(_refusal(preview)))
    facts += [(Content.styled("!", "$accent"), plain(warning)) for warning in preview.warnings]
    for number, parsed in preview.rows[:SHOWN_ROWS]:
        facts += [GAP, ("", Content.styled(f"line {number}", "$quiet")), *_parsed_facts(parsed)]
    if preview.rejected:
        facts += [GAP, ("", Content.styled("rejected", "$accent"))]
        facts += [(f"line {number}", line(why)) for number, why in preview.rejected[:REJECTED_SHOWN]]
    return facts


def _wrong(said: Content) -> Fact:
    return Content.styled("✗", "bold $error"), said


def _refusal(preview: Preview) -> Content:
    """That the file will not be imported, and what to do instead."""
    bad = f"{len(preview.rejected):,} of {len(preview.rows) + len(preview.rejected):,} rows cannot be read so"
    end = "it will not be imported." if preview.refused else "if the rest is alike it will not be imported."
    return Content.assemble((f"{bad}: {end}", "bold"), (f" Mend it, or {other_layout(preview)}.", "$quiet"))


def _parsed_facts(parsed: Parsed) -> list[Fact]:
    rows: list[tuple[str, str, str]] = []
    for prompt, text in parsed.demonstrations:
        rows += [("prompt", prompt.turns[-1].content, "$primary"), ("answer", text, "$success")]
    for prompt, chosen, rejected in parsed.preferences:
        rows += [("prompt", prompt.turns[-1].content, "$primary"), ("chosen", chosen, "$success")]
        rows.append(("rejected", rejected, "$accent"))
    for ranked in parsed.rankings:
        rows.append(("prompt", ranked.prompt.turns[-1].content, "$primary"))
        for place, tier in enumerate(ranked.tiers, 1):
            style = "$success" if place == 1 else "$accent"
            rows += [(f"place {place}", ranked.answers[answer], style) for answer in tier]
    for prompt in parsed.prompts:
        rows.append(("prompt", prompt.turns[-1].content, "$primary"))
        if prompt.answer is not None:
            rows.append(("answer", prompt.answer, "$success"))
    return [(Content.styled(f"  {name}", style), line(text, limit=300)) for name, text, style in rows[:6]]
