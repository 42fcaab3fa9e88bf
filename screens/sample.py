"""Sample: which model answers which prompts and how, and the completions as they come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from screens.active import stopping_words
from screens.base import BenchScreen
from screens.messages import ProjectChanged, RunLaunched
from screens.sampling import Sampling, SamplingFollower, SamplingView
from screens.sources import Source, sources
from screens.widgets.form import FieldForm, FormRow, rows_of
from screens.widgets.panel import Panel
from workbench.fields import Field, Value

if TYPE_CHECKING:
    from workbench.orders import SampleOrder
    from workbench.runs import Run

LOOK_SECONDS = 0.5
MODEL_HELP = "Which model answers: the base, or what a run trained."
PROMPTS_HELP = "Which prompts are answered. Held-out ones are for measuring: their answers never train."
LIMIT_HELP = "How many of these prompts, those with the fewest completions first. 0 or all: every one."
FRESH, ALL, HELD_OUT = "not sampled yet", "all for training", "held out"


@dataclass(frozen=True)
class Choices:
    """What the project offers to sample from and with."""

    sources: list[Source]
    fields: tuple[Field, ...]
    prompts: dict[str, int]
    newest: Run | None
    tags: tuple[str, ...] = ()
    """What answers can be asked to be like: quality=high."""


@dataclass
class ChoicesKnown(Message):
    """The project has been asked what there is to sample."""

    choices: Choices


@dataclass
class SamplingLooked(Message):
    """A look at the sampling run."""

    sampling: Sampling


@dataclass
class SamplingOrdered(Message):
    """A sampling run was made and started."""

    run: Run


class SampleScreen(BenchScreen):
    """A form, and beside or below it the sampling run that was started last."""

    PLACE = "sample"
    CSS_PATH = "sample.tcss"
    AUTO_FOCUS = "FormRows"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "start", id="sample.start", tooltip="Start sampling with these settings."),
        Binding("x", "stop", "stop", id="sample.stop", tooltip="Stop the sampling run after its present batch."),
        Binding("c", "go_on", "continue", id="sample.continue", tooltip="Go on with a sampling run that was stopped."),
        Binding("a", "all", "all fields", show=False, id="sample.all", tooltip="Show or hide the advanced settings."),
        Binding("q,escape", "leave", "back", id="sample.leave", tooltip="Go back to Home."),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._choices: Choices | None = None
        self._changes: dict[str, Value] = {}
        self._advanced = False
        self._wanted: str | None = None
        self._follower: SamplingFollower | None = None
        self._sampling: Sampling | None = None

    def content(self) -> ComposeResult:
        yield FieldForm(title="sample", id="sample-form")
        with Panel(title="completions", id="sampling-panel"):
            yield SamplingView()

    def on_mount(self) -> None:
        self.query_one("#sampling-panel").display = False
        self.set_interval(LOOK_SECONDS, self._look_if_alive)

    # -- loading

    def reload(self) -> None:
        self._read()

    @work(thread=True, exclusive=True, group="sample")
    def _read(self) -> None:
        from workbench import samplers

        store = self.bench.store
        counts = store.counts()
        prompts = {FRESH: store.unsampled("train"), ALL: counts.prompts, HELD_OUT: counts.held_out}
        runs = self.bench.runs.all("sample")
        newest = runs[-1] if runs else None
        fields = samplers.get("transformers").fields
        tags = tuple(f"{name}={value}" for name, values in store.tag_values().items() for value in values)
        self.post_message(ChoicesKnown(Choices(sources(self.bench), fields, prompts, newest, tags)))

    def on_choices_known(self, message: ChoicesKnown) -> None:
        self._choices = message.choices
        if self._wanted is not None:
            self.choose_source(self._wanted)
        if message.choices.newest is not None and self._follower is None:
            self._follow(message.choices.newest)
        self._draw()

    def choose_source(self, run: str | None) -> None:
        """Sets the source of the form, now or when the choices are known."""
        self._wanted = run
        if self._choices is not None:
            labels = [source.label for source in self._choices.sources if source.run == run]
            if labels:
                self._changes["source"] = labels[0]
            self._wanted = None
            self._draw()

    # -- the form

    def _fields(self, choices: Choices) -> tuple[Field, ...]:
        labels = tuple(source.label for source in choices.sources)
        kinds = tuple(kind for kind in (FRESH, ALL, HELD_OUT) if choices.prompts[kind]) or (ALL,)
        usual = next((source.label for source in choices.sources if source.run is not None), labels[0])
        most = max(choices.prompts[kind] for kind in kinds)
        return (
            Field("source", usual, "Model", MODEL_HELP, choices=labels, group="which"),
            Field("prompts", kinds[0], "Prompts", PROMPTS_HELP, choices=kinds, group="which"),
            Field(
                "limit", 0, "At most", LIMIT_HELP, low=0, high=max(1, most), unit="prompts", group="which", zero="all"
            ),
            *choices.fields,
        )

    def _values(self, fields: tuple[Field, ...]) -> tuple[dict[str, Value], dict[str, Value]]:
        usual = {field.name: field.default for field in fields}
        kept = {field.name: self._changes[field.name] for field in fields if field.name in self._changes}
        valid = {
            f.name: kept[f.name] for f in fields if f.name in kept and (not f.choices or kept[f.name] in f.choices)
        }
        return usual, {**usual, **valid}

    def _draw(self) -> None:
        if self._choices is None:
            return
        fields = self._fields(self._choices)
        usual, values = self._values(fields)
        tags = (("", "as the prompts stand"), *((tag, "") for tag in self._choices.tags)) if self._choices.tags else ()
        rows: list[FormRow] = [
            replace(row, offers=tags) if row.name == "tags" else row
            for row in rows_of(fields, values, usual, advanced=self._advanced)
        ]
        self.query_one(FieldForm).show(rows)
        self.query_one("#form-rows", Panel).note(f"{self._total(values):,} completions")
        self.refresh_bindings()

    def _total(self, values: dict[str, Value]) -> int:
        if self._choices is None:
            return 0
        prompts = self._choices.prompts.get(str(values["prompts"]), 0)
        limit = int(values["limit"])
        return (min(prompts, limit) if limit else prompts) * int(values.get("n", 1))

    @on(FieldForm.Changed)
    def _change(self, message: FieldForm.Changed) -> None:
        self._changes[message.name] = message.value
        self._draw()

    # -- keys

    def why_not(self, action: str) -> str:
        alive = self._sampling is not None and self._sampling.status.alive
        if action == "start":
            if self._choices is None:
                return "The project is still being read."
            if not any(self._choices.prompts.values()):
                return "There are no prompts to sample: press 3, then i to import some."
            return "A sampling run is at work: x stops it." if alive else ""
        if action == "stop" and not alive:
            return "No sampling run is at work."
        if action == "go_on":
            stopped = self._sampling is not None and self._sampling.status.state in ("stopped", "failed", "died")
            return "" if stopped else "There is no stopped sampling run to go on with."
        return ""

    def action_all(self) -> None:
        self._advanced = not self._advanced
        self._draw()

    def action_start(self) -> None:
        if self._choices is not None:
            self._order(self._order_of(self._choices))

    def _order_of(self, choices: Choices) -> SampleOrder:
        from workbench.orders import SampleOrder

        fields = self._fields(choices)
        _, values = self._values(fields)
        source = next(source for source in choices.sources if source.label == values["source"])
        kind, limit = str(values["prompts"]), int(values["limit"])
        fresh = choices.prompts[FRESH]
        most = (min(limit, fresh) if limit else fresh) if kind == FRESH else limit
        return SampleOrder(
            source=source.run,
            checkpoint=source.checkpoint,
            split="held_out" if kind == HELD_OUT else "train",
            prompts=most,
            changes={field.name: values[field.name] for field in choices.fields},
        )

    @work(thread=True, exclusive=True, group="order")
    def _order(self, order: SampleOrder) -> None:
        from workbench import orders

        run = orders.sample(self.bench, order)
        self.bench.runs.launch(run)
        self.post_message(SamplingOrdered(run))

    def on_sampling_ordered(self, message: SamplingOrdered) -> None:
        self._follow(message.run)
        self.post_message(RunLaunched(message.run.id))

    def action_stop(self) -> None:
        if self._follower is not None:
            told = stopping_words(self._follower.run, "c")
            self.bench.runs.stop(self._follower.run)
            self.notice(told)

    def action_go_on(self) -> None:
        if self._follower is not None:
            self.bench.runs.resume(self._follower.run)
            self._look()
            self.post_message(RunLaunched(self._follower.run.id))

    # -- the run

    def _follow(self, run: Run) -> None:
        self._follower = SamplingFollower(self.bench, run)
        self._look()

    def _look_if_alive(self) -> None:
        if self._sampling is not None and self._sampling.status.alive and self.is_current:
            self._look()

    @work(thread=True, exclusive=True, group="sampling")
    def _look(self) -> None:
        if self._follower is not None:
            self.post_message(SamplingLooked(self._follower.look()))

    def on_sampling_looked(self, message: SamplingLooked) -> None:
        before = self._sampling
        self._sampling = message.sampling
        panel = self.query_one("#sampling-panel", Panel)
        panel.display = True
        panel.border_title = Content(f"completions of run {self._follower.run.id}" if self._follower else "completions")
        self.query_one(SamplingView).sampling = message.sampling
        if before is None or before.status != message.sampling.status:
            self.refresh_bindings()
            if before is not None and before.status.alive and not message.sampling.status.alive:
                count = message.sampling.done
                told = f"{count:,} completions are here: press 5 to rank them." if count else "Nothing was sampled."
                self.post_message(ProjectChanged(told))
