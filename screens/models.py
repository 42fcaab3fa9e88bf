"""Models: what can be tuned here, whether it fits the card and can be exported, and which one the project uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from screens.machine import bytes_in_words, in_words
from screens.messages import ProjectChanged
from screens.reading import ReadingScreen
from screens.safe import line, plain
from screens.widgets.asking import Ask
from screens.widgets.facts import Fact, Facts
from screens.widgets.filtered import Filtered
from screens.widgets.panel import Empty, Panel
from screens.widgets.records import Cell, Column, Records
from screens.widgets.status import bar
from workbench.errors import BaseModelError
from workbench.exported import outlook

if TYPE_CHECKING:
    from workbench.bases import Base
    from workbench.fit import Estimate

USE = ("use it", "Make the highlighted model the project's base.")
BUNDLED = "bundled"
FIT_WORDS = {"fits": ("✓ fits", "$success"), "tight": ("! tight", "$accent"), "no": ("✗ too big", "$error")}


@dataclass(frozen=True)
class Model:
    """A base as a row of the list: with its estimate, and whether the project uses it."""

    base: Base
    estimate: Estimate | None
    preset: str
    chosen: bool


@dataclass
class ModelsRead(Message):
    """The bases on this machine are read."""

    models: list[Model]


@dataclass
class Downloading(Message):
    """So much of a model is here."""

    spec: str
    done: int
    total: int


@dataclass
class Downloaded(Message):
    """A model from the hub is here."""

    base: Base


class ModelsScreen(ReadingScreen):
    """The bases on this machine."""

    PLACE = "models"
    CSS_PATH = "models.tcss"
    AUTO_FOCUS = "Records"
    READS = "#about-scroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "a", "add", "add", id="models.add", tooltip="Add a folder of models, or get one from the hub by its id."
        ),
        Binding("r", "again", "look again", id="models.again", tooltip="Read the models on this machine again."),
        Binding("q,escape", "leave", "back", id="models.leave", tooltip="Go back to Home."),
    ]

    def content(self) -> ComposeResult:
        columns = (
            Column("", 1),
            Column("model"),
            Column("params", 7, "right"),
            Column("size", 8, "right"),
            Column("format", 9, from_width=66),
            Column("training here", 13),
            Column("GGUF", 4),
        )
        rows: Records[Model] = Records(columns, _cells, key=lambda model: model.base.spec, enter=USE, id="models")
        with Panel(title="base models", id="models-panel"):
            yield Ask("folder, or hub id such as org/name", id="models-ask")
            yield Static(id="models-progress")
            yield Filtered(rows, empty=Empty("Reading the models on this machine …"), matches=lambda m: m.base.name)
        with Panel(title="about it", id="about-panel"), VerticalScroll(can_focus=False, id="about-scroll"):
            yield Facts()

    def on_mount(self) -> None:
        self.query_one("#models-progress").display = False

    # -- loading

    def reload(self) -> None:
        self._read()

    def action_again(self) -> None:
        self._read()

    @work(thread=True, exclusive=True, group="models")
    def _read(self) -> None:
        from workbench import bases, fit, orders

        preset = orders.suggested_preset(self.bench)
        settings = preset.settings("sft")
        found = bases.installed(bases.remembered_folders(self.bench.store))
        used = self.bench.base
        if used not in {base.spec for base in found}:
            found += _named(used)
        models = [
            Model(
                base,
                fit.estimate(base, settings, "sft", self.bench.hardware) if base.usable else None,
                preset.name,
                base.spec == used,
            )
            for base in found
        ]
        self.post_message(ModelsRead(models))

    def on_models_read(self, message: ModelsRead) -> None:
        rows = self.query_one(Records)
        first = not rows.records
        self.query_one(Filtered).show(message.models)
        if first:
            rows.select(self.bench.base)

    # -- the list

    @on(Records.Highlighted)
    def _describe(self, message: Records.Highlighted[Model]) -> None:
        if message.record is not None:
            self.query_one(Facts).facts = about(message.record)

    @on(Records.Chosen)
    def _use(self, message: Records.Chosen[Model]) -> None:
        base = message.record.base
        if not base.usable:
            raise BaseModelError(f"{base.name} cannot be used as a base: {base.problems[0]}", "Choose another one.")
        self.bench.base = base.spec
        self.post_message(ProjectChanged(f"{base.name} is now this project's base."))

    # -- adding

    def action_add(self) -> None:
        self.query_one(Ask).open()

    @on(Input.Submitted)
    def _add(self, message: Input.Submitted) -> None:
        message.stop()
        text = message.value.strip()
        folder = Path(text).expanduser()
        self.query_one(Ask).close()
        if not text:
            return
        if folder.is_dir():
            from workbench import bases

            bases.remember_folder(self.bench.store, folder)
            self.notice("The folder is added; its models are in the list.")
            self._read()
        elif text.startswith(("/", "~", ".")):
            raise BaseModelError(f"There is no folder {text}.", "Check the path; tab completes it.")
        else:
            self._download(text)

    @work(thread=True, exclusive=True, group="download")
    def _download(self, spec: str) -> None:
        from workbench import bases

        self.post_message(Downloading(spec, 0, 0))

        def tell(done: int, total: int) -> None:
            self.post_message(Downloading(spec, done, total))

        try:
            base = bases.download(spec, tell)
        finally:
            self.post_message(Downloading(spec, -1, 0))
        self.post_message(Downloaded(base))

    def on_downloading(self, message: Downloading) -> None:
        row = self.query_one("#models-progress", Static)
        row.display = message.done >= 0
        share = message.done / message.total if message.total else 0.0
        row.update(
            Content.assemble(
                ("getting ", "$quiet"), line(message.spec, "$strong"), "  ", (bar(share, 20), "$primary"),
                f"  {bytes_in_words(max(0, message.done))} of {bytes_in_words(message.total or None)}",
            )
        )  # fmt: skip

    def on_downloaded(self, message: Downloaded) -> None:
        self.notice(f"{message.base.name} is here; enter makes it the base.")
        self._read()


def _named(spec: str) -> list[Base]:
    """The project's base where no list has it: a folder that is not remembered, or one that is gone."""
    from workbench import bases

    try:
        return [bases.resolve(spec)]
    except BaseModelError as error:
        return [bases.Base(spec, Path(spec), spec, problems=(error.message,))]


def _cells(model: Model) -> tuple[Cell, ...]:
    base = model.base
    if not base.usable:
        fits = Content.styled("✗ unusable", "$error")
    elif model.estimate is None:
        fits = Content.styled("unknown", "$quiet")
    else:
        fits = Content.styled(*FIT_WORDS[model.estimate.verdict])
    return (
        Content.styled("●", "$accent") if model.chosen else "",
        line(base.name, "bold $strong" if model.chosen else "$strong"),
        in_words(base.parameters) if base.parameters else "",
        bytes_in_words(base.size_bytes) if base.size_bytes else "",
        line(base.dtype),
        fits,
        (Content.styled("✗ no", "$quiet") if base.exportable else Content.styled("✓", "$success"))
        if base.usable
        else "",
    )


def about(model: Model) -> list[Fact]:
    """Everything known about a base; what is wrong comes first."""
    base = model.base
    facts: list[Fact] = [("", Content.assemble(("✗ ", "bold $error"), plain(problem))) for problem in base.problems]
    if model.chosen:
        facts.append(("", Content.assemble(("● ", "$accent"), ("the project's base", "bold"))))
    if model.estimate is not None:
        facts.append((f"SFT, {model.preset}", plain(model.estimate.sentence)))
    if base.usable:  # before its shape: whether it can be exported has to be seen before it is trained
        facts.append(("GGUF export", plain(outlook(base))))
    return facts + [(name, plain(value)) for name, value in _facts(base) if value]


def _short(path: Path) -> str:
    """A path with `~` for the person's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _facts(base: Base) -> list[tuple[str, str]]:
    marks = "marks what the assistant says" if base.has_generation_markers else "does not mark what the assistant says"
    shape = f"{base.layers} layers · {base.hidden} wide · {base.heads} heads · {base.vocab:,} tokens"
    return [
        ("kind", base.architecture),
        ("shape", shape if base.layers else ""),
        ("context", f"{base.context:,} tokens" if base.context else ""),
        ("template", marks if base.has_template else "none: it was not made for conversations"),
        ("licence", base.licence or "not stated"),
        ("safety", "safetensors only; no code of the model's own is run" if base.usable else ""),
        ("where", "comes with the workbench" if base.spec == BUNDLED else _short(base.path)),
    ]
