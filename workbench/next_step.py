"""What a person could do next in a project: a pure decision over a few counts, for Home and the status row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from workbench.records import Counts

if TYPE_CHECKING:
    from workbench.bench import Bench

Stage = Literal["prompts", "completions", "rankings", "runs", "exports"]

ENOUGH_PAIRS = 30
"""Fewer new pairs than this teach a model little; ranking more is the better advice."""


@dataclass(frozen=True)
class Progress:
    """How far a project is round the loop."""

    counts: Counts = field(default_factory=Counts)
    judged: int = 0
    """Prompts that a person has judged."""
    pairs: int = 0
    new_pairs: int = 0
    """Pairs that no finished run has trained on."""
    runs: int = 0
    """Runs of every kind, in whatever state."""
    training: tuple[str, ...] = ()
    """Methods of the finished training runs, oldest first."""
    newest: str = ""
    """The newest finished training run's id."""
    working: str = ""
    """The id of a run that works or waits now."""
    samples_from: tuple[str, ...] = ()
    """The runs that finished sampling runs used, '' for the base."""
    exported: tuple[str, ...] = ()
    """Runs that have a finished export."""


@dataclass(frozen=True)
class NextStep:
    """One thing to do: where in the loop, with which key from Home, and why in a sentence."""

    stage: Stage
    key: str
    sentence: str


def next_step(p: Progress) -> NextStep:
    """The first thing in the loop that is missing."""
    if not p.counts.prompts and not p.counts.demonstrations:
        return NextStep("prompts", "3", "bring in data: press 3, then i")
    if p.working:
        return NextStep("runs", "6", f"run {p.working} is at work: press 6 to watch it")
    if p.counts.demonstrations and not p.training:
        return NextStep(
            "runs", "t", f"teach by example: press t to train on {p.counts.demonstrations:,} demonstrations"
        )
    if p.counts.rankable == 0 or (
        p.newest and not p.new_pairs and p.newest not in p.samples_from and not _preferred(p)
    ):
        return NextStep("completions", "4", f"let the model answer {p.counts.prompts:,} prompts: press 4")
    if p.new_pairs >= ENOUGH_PAIRS:
        return NextStep("runs", "t", f"train on what you prefer: press t for DPO on {p.new_pairs:,} new pairs")
    if p.counts.waiting and (not _preferred(p) or p.newest in p.samples_from):
        return NextStep("rankings", "5", f"say which answers are better: press 5, {p.counts.waiting:,} prompts wait")
    if p.newest and p.newest not in p.exported:
        return NextStep("exports", "7", f"export run {p.newest} and check that it answers alike: press 7")
    return NextStep("completions", "4", "go round again: sample the newest model with 4, rank with 5")


def _preferred(p: Progress) -> bool:
    return any(method != "sft" for method in p.training)


def progress_of(bench: Bench) -> Progress:
    """Reads the counts from the store and the runs (some hundred milliseconds in a large project: not for a frame)."""
    from workbench import methods, orders

    runs = [(run, run.status()) for run in bench.runs.all()]
    finished = [run for run, status in runs if status.state == "finished"]
    working = [run for run, status in runs if status.alive]
    trained = [run for run in finished if run.job.kind == "train"]
    preferred = [run.job.counts for run in trained if methods.get(run.job.action).needs == "pairs"]
    used = max((counts.get("pairs", 0) + counts.get("held out", 0) for counts in preferred), default=0)
    pairs = len(orders.pairs(bench))
    return Progress(
        counts=bench.store.counts(),
        judged=bench.store.judged_prompts(),
        pairs=pairs,
        new_pairs=max(0, pairs - used),
        runs=len(runs),
        training=tuple(run.job.action for run in trained),
        newest=trained[-1].id if trained else "",
        working=working[0].id if working else "",
        samples_from=tuple(run.job.parent or "" for run in finished if run.job.kind == "sample"),
        exported=tuple(run.job.parent or "" for run in finished if run.job.kind == "export"),
    )
