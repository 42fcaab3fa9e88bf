"""What every method teaches the bundled base: `python -m tests.benchmarks learning [--seeds 3] [--methods kto,rloo]`.

Each seed is a demo project of its own: SFT on the demonstrations, answers of that run ranked by the demo's rule, then
every other method from the SFT run (a reward model from the base, as in the demo), with the cpu preset as it is. A
policy is measured by the rule's mean score of its likeliest answers to the held-out prompts (3 is right, courteous and
brief), a reward model by the share of pairs of sampled answers to them that it tells apart. Prints the table of the
README; `--save` keeps it in results/learning.md.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workbench import demo, judging, methods, orders
from workbench.bench import Bench
from workbench.fields import parse_assignments
from workbench.judges import rules
from workbench.live import Follower
from workbench.methods import Method
from workbench.runs import Run
from workbench.runs.following import ending_error, wait

SEEDS = 3
SHOWN = ("sft", "dpo", "kto", "rloo", "reward", "ppo")
"""The methods of the README's table, in the order in which they are measured."""
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
RESULT = Path(__file__).resolve().parent / "results" / "learning.md"
SAMPLES = 4
FROM_RULE = "rule:demo"
"""The reward of what learns by trying: the rule that also measures, so that the table shows learning alone."""


@dataclass(frozen=True)
class Outcome:
    """One method with one seed."""

    before: float
    after: float
    seconds: float


class Project:
    """One seed's project, with an SFT run and the rule's rankings of its answers."""

    def __init__(self, bench: Bench, seed: int, changes: dict[str, Any]) -> None:
        self.bench = bench
        self.seed = seed
        self.changes = changes
        self.held_out = bench.store.prompts("held_out")
        self.base_score = self.score(None)
        self.tuned = self.train("sft", None)
        self.tuned_score = self.score(self.tuned)
        self.rank()

    def train(self, method: str, parent: Run | None, **more: Any) -> Run:
        changes = {**({} if method == "sft" else self.changes), **more, "seed": self.seed}
        return self.done(
            orders.train(self.bench, method, preset=demo.PRESET, changes=changes, parent=parent.id if parent else None)
        )

    def done(self, run: Run) -> Run:
        self.bench.runs.launch(run)
        if (error := ending_error(run, wait(run, lambda _: None))) is not None:
            raise error
        self.bench.ingest()
        return run

    def rank(self) -> None:
        """Several answers to each training prompt that the rule can judge, in the order in which it puts them."""
        prompts = [prompt for prompt in self.bench.store.prompts() if prompt.answer is not None]
        changes = {"n": SAMPLES, "temperature": 1.0, "seed": self.seed}
        order = orders.SampleOrder(source=self.tuned.id, prompts=len(prompts), changes=changes)
        sampled = self.done(orders.sample(self.bench, order))
        found = ((prompt, self.bench.store.completions(prompt.id, job=sampled.id)) for prompt in prompts)
        self.bench.store.add_rankings([demo.ranking(prompt, answers) for prompt, answers in found if len(answers) > 1])

    def score(self, run: Run | None) -> float:
        """The rule's mean score of the likeliest answers to the held-out prompts."""
        order = orders.SampleOrder(source=run.id if run else None, split="held_out", changes=demo.GREEDY)
        sampled = self.done(orders.sample(self.bench, order))
        answers = {p.id: self.bench.store.completions(p.id, job=sampled.id)[0].text for p in self.held_out}
        return statistics.mean(rules.score(answers[p.id], p.answer or "") for p in self.held_out)

    def told_apart(self, judge: Run) -> float:
        """How many pairs of the SFT run's answers to held-out prompts a reward model tells apart."""
        compared = self.done(orders.sample(self.bench, demo.to_compare(self.tuned, self.seed)))
        scoring = judging.order(self.bench, judging.JudgeOrder(judge.id, sampled=compared.id))
        assert scoring is not None, "fresh answers have no scores"
        self.done(scoring)
        return demo.told_apart(self.bench, judge, compared)

    def teach(self, method: Method) -> Outcome:
        """Trains with a method from the SFT run, and measures before and after."""
        began = time.monotonic()
        if method.name == "sft":
            seconds = _trained_seconds(self.tuned)
            return Outcome(self.base_score, self.tuned_score, seconds)
        names = {field.name for field in method.fields}
        parent = None if method.makes == "reward model" else self.tuned  # as the demo does
        run = self.train(method.name, parent, **({"reward": FROM_RULE} if "reward" in names else {}))
        seconds = time.monotonic() - began
        if method.makes == "reward model":
            return Outcome(0.5, self.told_apart(run), seconds)  # a model that knows nothing tells apart half of them
        return Outcome(self.tuned_score, self.score(run), seconds)


def _followed(run: Run) -> Follower:
    return wait(run, lambda _: None)


def _trained_seconds(run: Run) -> float:
    live = _followed(run).live
    ending, began = live.ending, run.job.created
    return ending.t - began if ending is not None else 0.0


@contextlib.contextmanager
def project(seed: int, changes: dict[str, Any]) -> Iterator[Project]:
    """A project that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Bench.create(Path(folder) / "project", demo=True)) as bench,
    ):
        yield Project(bench, seed, changes)


def measure(chosen: list[Method], projects: list[Project], told: Callable[[str], None]) -> dict[str, list[Outcome]]:
    """Every method's outcomes, one a project; the table so far is told after each method."""
    found: dict[str, list[Outcome]] = {}
    for method in chosen:
        for one in projects:
            outcome = one.teach(method)
            found.setdefault(method.name, []).append(outcome)
            print(
                f"seed {one.seed} {method.name}: {outcome.before:.3f} → {outcome.after:.3f} ({outcome.seconds:.0f} s)",
                flush=True,
            )
        told(table(found))
    return found


def table(found: dict[str, list[Outcome]]) -> str:
    """The outcomes as markdown: means over the seeds, and how far the worst and best are apart."""
    lines = ["| method | measured by | before | after | seconds |", "|---|---|---|---|---|"]
    for name, outcomes in found.items():
        measured = "held-out pairs told apart" if methods.get(name).makes == "reward model" else "rule's score"
        after = [outcome.after for outcome in outcomes]
        before = statistics.mean(outcome.before for outcome in outcomes)
        seconds = statistics.mean(outcome.seconds for outcome in outcomes)
        span = f"{min(after):.2f} to {max(after):.2f}"
        lines.append(
            f"| `{name}` | {measured} | {before:.2f} | {statistics.mean(after):.2f} ({span}) | {seconds:.0f} |"
        )
    return "\n".join(lines)


def conditions() -> str:
    """When and with what this is measured; the load says how quiet the machine was."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    day = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{day}; Python {platform.python_version()}, {versions}; {os.cpu_count()} processors, load {load}"


def keep(began: str, seeds: int, lines: str) -> None:
    """Writes the table so far, so that a run that is cut short leaves what it has measured."""
    words = " ".join(["python -m tests.benchmarks learning", *sys.argv[1:]])
    title = f"# What the methods teach the bundled base, {seeds} seeds, cpu preset"
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(f"{title}\n\n`{words}`\n\n{began}\n\n{lines}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--methods", default=",".join(SHOWN), help="names with commas between")
    parser.add_argument("--set", action="append", default=[], help="key=value, for every method but sft")
    parser.add_argument("--save", action="store_true", help="keep the table in tests/benchmarks/results")
    given = parser.parse_args()
    chosen = [methods.get(name) for name in given.methods.split(",") if name]
    began, changes = conditions(), parse_assignments(given.set)
    with contextlib.ExitStack() as stack:
        projects = [stack.enter_context(project(seed, changes)) for seed in range(given.seeds)]
        told = functools.partial(keep, began, given.seeds) if given.save else lambda _: None
        found = measure(chosen, projects, told)
    print("what the methods teach the bundled base (cpu preset)")
    print(table(found))


if __name__ == "__main__":
    main()
