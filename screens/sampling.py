"""A sampling run as it goes, for the Sample screen: how far, how fast, and the latest completions."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from screens.active import run_title
from screens.safe import line
from screens.widgets.facts import Fact, Facts
from screens.widgets.lineage import STATE_STYLE
from screens.widgets.status import bar, duration
from workbench.events import Completed, Step
from workbench.tail import Tail

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.runs import Run
    from workbench.runs.status import Status

LATEST = 40
"""Completions kept for the panel: as many as the tallest terminal shows."""


@dataclass(frozen=True)
class Sampling:
    """A sampling run at one moment."""

    title: str
    status: Status
    done: int = 0
    total: int = 0
    per_second: float | None = None
    latest: tuple[tuple[str, str], ...] = ()
    """(prompt, completion), the newest first."""


class SamplingFollower:
    """Reads a sampling run's events on; used from one thread at a time."""

    def __init__(self, bench: Bench, run: Run) -> None:
        self.run = run
        self._bench = bench
        self._tail = Tail(run.paths.events)
        self._seen: set[tuple[int, int]] = set()
        self._latest: deque[tuple[str, str]] = deque(maxlen=LATEST)
        self._prompts: dict[int, str] = {}
        self._per_second: float | None = None

    def look(self) -> Sampling:
        """The run as it stands; reads only what is new."""
        events = self._tail.read()
        completed = [event for event in events if isinstance(event, Completed)]
        self._seen.update((event.prompt_id, event.n) for event in completed)
        for one in completed[-LATEST:]:
            self._latest.appendleft((self._prompt(one.prompt_id), one.text))
        for event in events:
            if isinstance(event, Step):
                self._per_second = event.metrics.get("completions_per_second", self._per_second)
        job = self.run.job
        total = job.counts.get("completions", 0)
        return Sampling(
            run_title(job), self.run.status(), len(self._seen), total, self._per_second, tuple(self._latest)
        )

    def _prompt(self, prompt_id: int) -> str:
        if prompt_id not in self._prompts:
            self._prompts[prompt_id] = self._bench.store.prompt(prompt_id).text
        return self._prompts[prompt_id]


class SamplingView(Vertical):
    """Progress over the latest completions."""

    sampling: reactive[Sampling | None] = reactive(None)

    def compose(self) -> ComposeResult:
        yield Static(id="sampling-progress")
        with VerticalScroll(can_focus=False):
            yield Facts(columns=3, id="sampling-latest")

    def watch_sampling(self, sampling: Sampling | None) -> None:
        if not self.is_mounted or sampling is None:
            return
        self.query_one("#sampling-progress", Static).update(progress_text(sampling))
        pieces: list[Fact] = []
        for prompt, answers in groupby(sampling.latest, key=lambda one: one[0]):
            pieces.append((" › ", line(prompt, "$quiet")))
            pieces += [("   ", line(text, "$strong", limit=400)) for _, text in answers]
        self.query_one("#sampling-latest", Facts).facts = pieces


def progress_text(sampling: Sampling) -> Content:
    """State, bar, completions a second and time left, then the status in a sentence."""
    status = sampling.status
    share = sampling.done / sampling.total if sampling.total else 0.0
    parts = [
        Content.assemble((f"{status.glyph} {status.state}", STATE_STYLE.get(status.state, "$quiet"))),
        Content.assemble((bar(share, 18), "$primary"), f" {sampling.done:,}/{sampling.total:,}"),
    ]
    if status.alive and sampling.per_second:
        parts.append(Content(f"{sampling.per_second:.3g} completions/s"))
        parts.append(
            Content.styled(f"{duration((sampling.total - sampling.done) / sampling.per_second)} left", "$quiet")
        )
    first = Content("  ").join(parts)
    if status.state == "finished":  # the steps of its last sentence are batches, which say nothing here
        return first
    return Content("\n").join([first, line(status.sentence, "$quiet")])
