"""The training form: a method, a preset, a starting point, every setting, and what comes of it before it starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from screens.base import BenchScreen
from screens.machine import bytes_in_words
from screens.messages import OpenRun, RunLaunched
from screens.safe import line, plain
from screens.sources import Source, rewards, sources
from screens.widgets.form import FieldForm, FormRow, rows_of
from screens.widgets.panel import Panel
from workbench.errors import WorkbenchError
from workbench.fields import Field, Value

if TYPE_CHECKING:
    from workbench.fit import Estimate
    from workbench.methods import Method
    from workbench.presets import Preset
    from workbench.rows import Counts
    from workbench.runs import Run

WHAT = ("method", "preset", "source", "name")
PRESET_HELP = "Settings made for a size of card. The largest that fits this machine is suggested."
SOURCE_HELP = "Whose weights the run starts from. What learns from votes or a reward usually starts from an SFT run."
NAME_HELP = "Anything that helps you tell this run from the others. It may stay empty."
NEVER_WAITS = ("escape", "q", "question_mark", "f1")
"""Keys that work before the form is read."""
VERDICTS = {"fits": ("✓", "bold $success"), "tight": ("!", "bold $accent"), "no": ("✗", "bold $error")}


@dataclass(frozen=True)
class Choices:
    """What the project and the machine offer to train with."""

    methods: tuple[Method, ...]
    presets: tuple[Preset, ...]
    suggested: str
    sources: list[Source]
    counts: Counts
    rewards: tuple[tuple[str, str], ...] = ()
    """What a reward can be made of here, by the names that its line takes, and what each is."""
    tags: tuple[tuple[str, str], ...] = ()
    """The tags that demonstrations have, with their values."""


@dataclass
class TrainChoicesKnown(Message):
    """The project and the machine have been asked."""

    choices: Choices


@dataclass
class Estimated(Message):
    """What a run with these settings needs; `error` where the base cannot be read."""

    estimate: Estimate | None
    error: str = ""
    trained: str = ""
    """How many weights the run would tune, in words."""


@dataclass
class Typed(Message):
    """A key that had waited has gone its way."""


@dataclass
class RunOrdered(Message):
    """A run was made and its worker started."""

    run: Run


class TrainScreen(BenchScreen):
    """The form for one training run."""

    PLACE = "runs"
    CSS_PATH = "train.tcss"
    AUTO_FOCUS = ""  # the form takes the keys once it is read; until then the screen keeps them for it
    SAYS_NEXT_STEP = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "start", id="train.start", tooltip="Start the run and watch it."),
        Binding("p", "tokens", "tokens", id="train.tokens", tooltip="Show which tokens of a row carry loss."),
        Binding("a", "all", "all fields", id="train.all", tooltip="Show or hide the advanced settings."),
        Binding("q,escape", "leave", "back", id="train.leave", tooltip="Go back without starting a run."),
    ]

    def __init__(
        self, method: str | None = None, parent: str | None = None, changes: dict[str, Value] | None = None
    ) -> None:
        super().__init__()
        self._method = method
        self._start_from = parent
        self._choices: Choices | None = None
        self._what: dict[str, Value] = {}
        self._changes: dict[str, Value] = dict(changes or {})
        self._source_chosen = False
        self._advanced = False
        self._starting = False
        self._typed_ahead: list[events.Key] = []

    def content(self) -> ComposeResult:
        with Vertical(id="train-left"):
            yield FieldForm(title="train", id="train-form")
        with Panel(title="before it starts", id="train-summary"):
            yield Static(id="train-data")
            yield Static(id="train-fit")

    # -- loading

    def reload(self) -> None:
        self._read()

    @work(thread=True, exclusive=True, group="train")
    def _read(self) -> None:
        from workbench import methods, orders, presets, rows

        choices = Choices(
            methods.all_methods(),
            tuple(presets.all_presets()),
            orders.suggested_preset(self.bench).name,
            sources(self.bench),
            rows.counts(self.bench),
            tuple(rewards(self.bench).items()),
            tuple((name, ", ".join(values)) for name, values in self.bench.store.tag_values().items()),
        )
        self.post_message(TrainChoicesKnown(choices))

    def on_train_choices_known(self, message: TrainChoicesKnown) -> None:
        first = self._choices is None
        self._choices = message.choices
        if first:
            self._what = self._suggestion(message.choices)
        self._draw()
        if first:
            self.query_one(FieldForm).focus_rows()
            self._type_next()

    def on_key(self, event: events.Key) -> None:
        """Keys that come before the form is read wait for it, but for the ways out."""
        if self._choices is None and event.key not in NEVER_WAITS:
            event.stop()
            self._typed_ahead.append(event)

    def _type_next(self) -> None:
        """The next key that waits. It may move the focus, so `Typed` follows it and asks for the one after."""
        if self._typed_ahead and self.is_current:
            event = self._typed_ahead.pop(0)
            target = self.focused or self
            target._forward_event(events.Key(event.key, event.character).set_sender(self.app))
            target.post_message(Typed())

    def on_typed(self, message: Typed) -> None:
        message.stop()
        self.app.call_later(self._type_next)  # behind the key, whose binding the app runs

    def _suggestion(self, choices: Choices) -> dict[str, Value]:
        """What the person most likely came for: what they asked for, else the method that has data and is due."""
        method = self._method or next(
            (m.name for m in choices.methods if choices.counts.rows[m.needs] and self._due(m)), "sft"
        )
        source = self._suggested_source(choices, method)
        return {"method": method, "preset": choices.suggested, "source": source, "name": ""}

    def _suggested_source(self, choices: Choices, method: str) -> str:
        """What was asked for, else the base for what is meant for it, else the newest run."""
        base, *runs = [source.label for source in choices.sources]
        asked = next((s.label for s in choices.sources if self._start_from and s.run == self._start_from), "")
        from_base = next(m.from_base for m in choices.methods if m.name == method)
        return asked or (base if from_base or not runs else runs[0])

    def _due(self, method: Method) -> bool:
        step = self.bench_app.next_step
        progress = self.bench_app.progress
        if progress is None or step is None:
            return method.name == "sft"
        return method.name == ("dpo" if progress.new_pairs else "sft")

    # -- what is chosen

    def _chosen(self, choices: Choices) -> tuple[Method, Preset]:
        method = next(m for m in choices.methods if m.name == self._what["method"])
        preset = next(p for p in choices.presets if p.name == self._what["preset"])
        return method, preset

    def _what_fields(self, choices: Choices) -> tuple[Field, ...]:
        method, preset = self._chosen(choices)
        names = tuple(m.name for m in choices.methods)
        about_method = f"{method.label}. {method.summary}"
        labels = tuple(source.label for source in choices.sources)
        return (
            Field("method", method.name, "Method", about_method, choices=names, group="this run"),
            Field(
                "preset", preset.name, "Preset", f"{PRESET_HELP}\n{preset.title}: {preset.costs}",
                choices=tuple(p.name for p in choices.presets), group="this run",
            ),
            Field("source", labels[0], "Start from", SOURCE_HELP, choices=labels, group="this run"),
            Field("name", "", "Name", NAME_HELP, group="this run"),
        )  # fmt: skip

    def _settings(self, choices: Choices) -> dict[str, Value]:
        method, preset = self._chosen(choices)
        known = {f.name for f in method.all_fields}
        return preset.settings(method.name, {name: v for name, v in self._changes.items() if name in known})

    def _draw(self) -> None:
        choices = self._choices
        if choices is None:
            return
        method, preset = self._chosen(choices)
        usual = preset.settings(method.name)
        values = self._settings(choices)
        what = self._what_fields(choices)
        rows = rows_of(what, self._what, self._what, advanced=True)
        fields = sorted(method.all_fields, key=lambda field: field.group != method.name)  # its own settings first
        rows += _with_offers(rows_of(fields, values, usual, advanced=self._advanced), choices)
        form = self.query_one(FieldForm)
        form.about = {
            "method": {m.name: m.label for m in choices.methods},
            "preset": {p.name: p.title for p in choices.presets},
        }
        form.show(rows)
        changed = sum(values[name] != usual[name] for name in values)
        hidden = sum(f.advanced and values[f.name] == usual[f.name] for f in method.all_fields)
        notes = [f"{changed} changed"] if changed else []
        notes += [f"{hidden} more with a"] if hidden and not self._advanced else []
        self.query_one("#form-rows", Panel).note(" · ".join(notes))
        self.query_one("#train-data", Static).update(self._data_text(choices, method, values))
        source = next((s for s in choices.sources if s.label == self._what["source"]), choices.sources[0])
        self._estimate(values, method.name, source)
        self.refresh_bindings()

    def _data_text(self, choices: Choices, method: Method, values: dict[str, Value]) -> Content:
        from workbench import rows, workload

        if not choices.counts.rows[method.needs]:
            return Content.assemble(
                ("✗ ", "bold $error"), f"no {method.needs} to train on: {rows.SOURCES[method.needs].lack}"
            )
        found = workload.of(method, values, choices.counts)
        return Content.assemble(
            ("data   ", "$quiet"), (f"about {found.rows:,} {method.needs}", "$strong"),
            f", {found.held_out:,} held out\n",
            ("steps  ", "$quiet"), (f"{found.steps:,}", "$strong"),
            f" of {found.batch} {'answers' if found.writes else 'rows'}",
        )  # fmt: skip

    @work(thread=True, exclusive=True, group="estimate")
    def _estimate(self, values: dict[str, Value], method: str, source: Source) -> None:
        from workbench import orders, tuning

        try:
            counted = orders.trained(self.bench, method, values, source.run, source.checkpoint)
            found = orders.memory(self.bench, self.bench.base, method, values)
        except WorkbenchError as error:  # the form stays usable; starting the run says the same
            self.post_message(Estimated(None, str(error)))
            return
        self.post_message(Estimated(found, trained=tuning.in_words(*counted)))

    def on_estimated(self, message: Estimated) -> None:
        self.query_one("#train-fit", Static).update(fit_text(message.estimate, message.error, message.trained))

    @on(FieldForm.Changed)
    def _change(self, message: FieldForm.Changed) -> None:
        if message.name in WHAT:
            self._what[message.name] = message.value
            self._source_chosen |= message.name == "source"
            if message.name == "method" and self._choices is not None and not self._source_chosen:
                self._what["source"] = self._suggested_source(self._choices, str(message.value))
        else:
            self._changes[message.name] = message.value
        self._draw()

    # -- keys

    def why_not(self, action: str) -> str:
        if action not in ("start", "tokens"):
            return ""
        if self._choices is None:
            return "The project is still being read."
        method, _ = self._chosen(self._choices)
        if not self._choices.counts.rows[method.needs]:
            return f"There are no {method.needs} to train on."
        return "The run is being started." if self._starting and action == "start" else ""

    def action_all(self) -> None:
        self._advanced = not self._advanced
        self._draw()

    def action_tokens(self) -> None:
        from screens.tokens import TokensScreen

        if self._choices is not None:
            method, _ = self._chosen(self._choices)
            self.app.push_screen(TokensScreen(self.bench, method.name, self._settings(self._choices)))

    def action_start(self) -> None:
        if self._choices is not None:
            self._starting = True
            self.refresh_bindings()
            self._order(self._choices)

    @work(thread=True, exclusive=True, group="order")
    def _order(self, choices: Choices) -> None:
        from workbench import orders

        method, preset = self._chosen(choices)
        known = {f.name for f in method.all_fields}
        source = next(s for s in choices.sources if s.label == self._what["source"])
        try:
            run = orders.train(
                self.bench,
                method.name,
                preset=preset.name,
                changes={name: value for name, value in self._changes.items() if name in known},
                parent=source.run,
                checkpoint=source.checkpoint,
                name=str(self._what["name"]),
            )
            self.bench.runs.launch(run)
        finally:
            self._starting = False
        self.post_message(RunOrdered(run))

    def on_run_ordered(self, message: RunOrdered) -> None:
        self.bench_app.error = None  # why it did not start before
        self.post_message(RunLaunched(message.run.id))
        self.dismiss()
        self.app.post_message(OpenRun(message.run.id))


def _with_offers(rows: list[FormRow], choices: Choices) -> list[FormRow]:
    """The rows; rewards and tags can be picked from what there is, and a reward is read while it is written."""
    from workbench.rewards import parse

    tags = (("", "every demonstration alike"), *choices.tags) if choices.tags else ()
    more: dict[str, dict[str, Any]] = {"reward": {"offers": choices.rewards, "check": parse}, "tags": {"offers": tags}}
    return [replace(row, **more.get(row.name, {})) for row in rows]


def fit_text(estimate: Estimate | None, error: str, trained: str = "") -> Content:
    """Whether it fits, why, how much is tuned, and the parts of the memory it takes."""
    if estimate is None:
        return Content.assemble(("✗ ", "bold $error"), plain(error))
    glyph, style = VERDICTS[estimate.verdict]
    lines = [Content.assemble(("fit    ", "$quiet"), (f"{glyph} ", style), line(estimate.sentence, limit=400))]
    if trained:
        lines.append(Content.assemble(("tunes  ", "$quiet"), line(trained.removeprefix("tunes "))))
    biggest = max(estimate.parts.values(), default=0) or 1
    for name, size_bytes in estimate.parts.items():
        if not size_bytes:
            continue  # what this run does not need, or shares with the base
        width = max(1, round(12 * size_bytes / biggest))
        lines.append(
            Content.assemble(
                line(name, "$quiet", limit=19).pad_right(20 - len(name)),
                ("█" * width).ljust(13),
                bytes_in_words(size_bytes),
            )
        )
    return Content("\n").join(lines)
