"""What every method teaches the bundled base: `python -m tests.benchmarks learning [--seeds 3] [--methods kto,rloo]`.

Each seed is a demo project of its own: SFT on the demonstrations, answers of that run ranked by the demo's rule, then
every other method from the SFT run, with the cpu preset as it is. A policy is measured by the rule's mean score of its
likeliest answers to the held-out prompts (3 is right, courteous and brief), a reward model by the share of held-out
pairs that it tells apart. Prints the table of the README.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import demo, methods, orders
from workbench.bench import Bench
from workbench.fields import parse_assignments
from workbench.judges import rules
from workbench.live import Follower
from workbench.methods import Method
from workbench.runs import Run
from workbench.runs.following import ending_error, wait

SEEDS = 3
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

    def teach(self, method: Method) -> Outcome:
        """Trains with a method from the SFT run, and measures before and after."""
        began = time.monotonic()
        if method.name == "sft":
            seconds = _trained_seconds(self.tuned)
            return Outcome(self.base_score, self.tuned_score, seconds)
        names = {field.name for field in method.fields}
        run = self.train(method.name, self.tuned, **({"reward": FROM_RULE} if "reward" in names else {}))
        seconds = time.monotonic() - began
        if method.makes == "reward model":
            accuracy = _followed(run).live.evaluations["pair_accuracy"]
            return Outcome(0.5, float(accuracy.y[-1]), seconds)  # a model that knows nothing tells apart half of them
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


def measure(chosen: list[Method], seeds: int, changes: dict[str, Any]) -> dict[str, list[Outcome]]:
    """Every method's outcomes, one a seed."""
    found: dict[str, list[Outcome]] = {method.name: [] for method in chosen}
    for seed in range(seeds):
        with project(seed, changes) as one:
            for method in chosen:
                outcome = one.teach(method)
                found[method.name].append(outcome)
                print(
                    f"seed {seed} {method.name}: {outcome.before:.3f} → {outcome.after:.3f} ({outcome.seconds:.0f} s)",
                    flush=True,
                )
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
        lines.append(f"| {name} | {measured} | {before:.2f} | {statistics.mean(after):.2f} ({span}) | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--methods", default="", help="names with commas between; all of them if left out")
    parser.add_argument("--set", action="append", default=[], help="key=value, for every method but sft")
    given = parser.parse_args()
    names = [name for name in given.methods.split(",") if name]
    chosen = [method for method in methods.all_methods() if not names or method.name in names]
    chosen.sort(key=lambda method: method.name != "sft")
    found = measure(chosen, given.seeds, parse_assignments(given.set))
    print("what the methods teach the bundled base (cpu preset)")
    print(table(found))


if __name__ == "__main__":
    main()
