"""Which charts a run's live screen has, and their lines: a method's own panels first, then what every run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench import methods
from workbench.charts.plot import Line
from workbench.job import Job
from workbench.live import Live
from workbench.methods import Panel
from workbench.series import Series

SMOOTH_FROM = 150
"""Steps from which a line is drawn as its average over a dim band."""

NEVER_SMOOTH = frozenset({"learning_rate", "memory"})
"""These have no noise to average away."""

GIB = 2**30

SHARED = (
    Panel("Learning rate", ("learning_rate",)),
    Panel("Gradient norm", ("grad_norm",)),
    Panel("Tokens a second", ("tokens_per_second",)),
    Panel("Memory, GiB", ("memory",)),
)
SAMPLING = (
    Panel("Completions a second", ("completions_per_second",)),
    Panel("Tokens a second", ("tokens_per_second",)),
    Panel("Memory, GiB", ("memory",)),
)
SCORING = (
    Panel("Reward", ("reward_mean", "reward_spread")),
    Panel("Completions a second", ("completions_per_second",)),
    Panel("Memory, GiB", ("memory",)),
)


@dataclass(frozen=True, eq=False)
class Chart:
    """One chart: its title, its lines, and whether it is drawn on a logarithmic scale unless asked otherwise."""

    title: str
    lines: tuple[Line, ...]
    log: bool = False


def panels(job: Job) -> tuple[Panel, ...]:
    """A job's charts in the order they matter. An export has none."""
    if job.kind == "sample":
        return SAMPLING
    if job.kind == "score":
        return SCORING
    if job.kind == "export":
        return ()
    method = methods.known(job.action)  # of one it does not know it can still show what every run has
    return (method.panels if method is not None else (Panel("Loss", ("loss",)),)) + SHARED


def charts(live: Live, chosen: Sequence[Panel]) -> list[Chart]:
    """The charts as they stand. The lines are views, valid until the fold is fed again."""
    return [Chart(panel.title, tuple(_lines(live, panel)), panel.log) for panel in chosen]


def _lines(live: Live, panel: Panel) -> list[Line]:
    lines = []
    several = len(panel.metrics) > 1
    shared = _shared(panel.metrics)
    for name in panel.metrics:
        series = _series(live, name)
        if len(series) or len(live.evaluations.get(name, Series())):  # empty, it keeps its colour till it has points
            scale = GIB if name == "memory" else 1
            smooth = len(series) >= SMOOTH_FROM and name not in NEVER_SMOOTH
            lines.append(Line(_words(name, shared) if several else "training", series.x, series.y / scale, smooth))
    for name in panel.metrics:
        held_out = live.evaluations.get(name, Series())
        if len(held_out):
            lines.append(Line(f"{_words(name, shared)}, held out" if several else "held out", held_out.x, held_out.y))
    return lines


def _series(live: Live, name: str) -> Series:
    if name == "memory":
        return live.memory
    if name == "tokens_per_second" and name not in live.metrics:
        return live.speed
    return live.metrics.get(name, Series())


def _shared(names: Sequence[str]) -> tuple[str, str]:
    """The first and the last word that all of several names have: the chart's title says it already."""
    words = [name.split("_") for name in names]
    first, last = ({parts[at] for parts in words} for at in (0, -1))
    many = len(names) > 1 and all(len(parts) > 1 for parts in words)
    return f"{first.pop()}_" if many and len(first) == 1 else "", f"_{last.pop()}" if many and len(last) == 1 else ""


def _words(name: str, shared: tuple[str, str]) -> str:
    return name.removeprefix(shared[0]).removesuffix(shared[1]).replace("_", " ")
