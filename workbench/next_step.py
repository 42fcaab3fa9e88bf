"""What a person could do next in a project: a pure decision over a few counts, for Home and the status row."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.records import Counts

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.runs import Run

Stage = Literal["prompts", "completions", "rankings", "runs", "exports"]

COMPARED = 20_000
"""Prompts whose answers are compared, in the queue's order, which is random: 0.2 s. Of more, their share is taken."""

ENOUGH_PAIRS = 30
"""Fewer new pairs than this teach a model little; ranking more is the better advice."""


@dataclass(frozen=True)
class Progress:
    """How far a project is round the loop."""

    counts: Counts = field(default_factory=Counts)
    """`waiting` is here what Rank will really show: prompts whose answers are all the same text are left out."""
    alike: int = 0
    """Those that were left out."""
    estimated: bool = False
    """Whether so many wait that `waiting` and `alike` were worked out from a part of them."""
    judged: int = 0
    """Prompts that a person has judged."""
    pairs: int = 0
    new_pairs: int = 0
    """Pairs that no run holds in its data which has finished or is at work. What a run that failed, died or was
    stopped holds is new again: no model has learned it."""
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

    @property
    def wait(self) -> str:
        """`24 prompts wait`, for Home and the next step."""
        count = self.counts.waiting
        if self.estimated:
            return f"about {round(count, -3):,} prompts wait"
        return f"{count:,} {'prompt waits' if count == 1 else 'prompts wait'}"


@dataclass(frozen=True)
class NextStep:
    """One thing to do: where in the loop, with which key from Home, and why in a sentence."""

    stage: Stage
    key: str
    sentence: str
    here: str = ""
    """The same for who is there already."""

    def told_on(self, place: str) -> str:
        """The sentence for a screen: where its own key would lead nowhere, what to do there."""
        return self.here if self.here and place == _PLACES[self.stage] else self.sentence


_PLACES: dict[Stage, str] = {
    "prompts": "data",
    "completions": "sample",
    "rankings": "rank",
    "runs": "runs",
    "exports": "export",
}
"""The screen of every stage."""


def next_step(p: Progress) -> NextStep:
    """The first thing in the loop that is missing."""
    if not p.counts.prompts and not p.counts.demonstrations:
        return NextStep("prompts", "3", "bring in data: press 3, then i", "bring in data: press i")
    if p.working:
        work = f"run {p.working} is at work:"
        return NextStep("runs", "6", f"{work} press 6 to watch it", f"{work} enter shows it")
    if p.counts.demonstrations and not p.training:
        return NextStep(
            "runs", "t", f"teach by example: press t to train on {p.counts.demonstrations:,} demonstrations"
        )
    if p.counts.rankable == 0 or (
        p.newest and not p.new_pairs and p.newest not in p.samples_from and not _preferred(p)
    ):
        answer = f"let the model answer {p.counts.prompts:,} prompts: press"
        return NextStep("completions", "4", f"{answer} 4", f"{answer} s")
    if p.new_pairs >= ENOUGH_PAIRS:
        return NextStep("runs", "t", f"train on what you prefer: press t for DPO on {p.new_pairs:,} new pairs")
    if p.counts.waiting and (not _preferred(p) or p.newest in p.samples_from):
        better = "say which answers are better"
        return NextStep("rankings", "5", f"{better}: press 5, {p.wait}", f"{better}: {p.wait}")
    if p.newest and p.newest not in p.exported:
        export = f"export run {p.newest} and check that it answers alike: press"
        return NextStep("exports", "7", f"{export} 7", f"{export} x")
    again = "go round again: sample the newest model with"
    return NextStep("completions", "4", f"{again} 4, rank with 5", f"{again} s, rank with 5")


def identical(prompts: int) -> str:
    """Says of how many prompts there is nothing to choose, so that they are counted nowhere."""
    return f"{prompts:,} {'prompt has' if prompts == 1 else 'prompts have'} identical answers"


def _preferred(p: Progress) -> bool:
    return any(method != "sft" for method in p.training)


def progress_of(bench: Bench) -> Progress:
    """Reads the counts from the store and the runs (some hundred milliseconds in a large project: not for a frame)."""
    from workbench import examples, methods, orders

    runs = [(run, run.status()) for run in bench.runs.all()]
    holding = [run for run, status in runs if run.job.kind == "train" and (status.alive or status.state == "finished")]
    held = frozenset[str]().union(
        *(_pairs_held(run) for run in holding if (m := methods.known(run.job.action)) and m.needs == "pairs")
    )
    finished = [run for run, status in runs if status.state == "finished"]
    working = [run for run, status in runs if status.alive]
    trained = [run for run in finished if run.job.kind == "train"]
    pairs = orders.pairs(bench)
    counts = bench.store.counts()
    looked, same = bench.store.waiting_alike(COMPARED)
    alike = round(counts.waiting * len(same) / looked) if looked else 0
    return Progress(
        counts=replace(counts, waiting=counts.waiting - alike),
        alike=alike,
        estimated=looked < counts.waiting,
        judged=bench.store.judged_prompts(),
        pairs=len(pairs),
        new_pairs=examples.new_pairs_since(pairs, held),
        runs=len(runs),
        training=tuple(run.job.action for run in trained),
        newest=trained[-1].id if trained else "",
        working=working[0].id if working else "",
        samples_from=tuple(run.job.parent or "" for run in finished if run.job.kind == "sample"),
        exported=tuple(run.job.parent or "" for run in finished if run.job.kind == "export"),
    )


def _pairs_held(run: Run) -> frozenset[str]:
    """Digests of the pairs in a run's frozen data, held-out ones too."""
    return frozenset().union(*(_digests(run.paths.data / name, sha) for name, sha in run.job.data.items()))


@lru_cache(maxsize=64)
def _digests(file: Path, _sha: str) -> frozenset[str]:
    """Digests of a file's pairs, read once: frozen data does not change."""
    from workbench import examples

    if file.name not in ("train.jsonl", "held_out.jsonl"):
        return frozenset()
    try:
        with file.open(encoding="utf-8") as lines:
            return frozenset(examples.row_digest(json.loads(line)) for line in lines)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return frozenset()  # damaged: whether a worker may go on with it is the run's to say; here its pairs are new
