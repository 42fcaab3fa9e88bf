"""A reward model as a help in ranking: its doubts come first in the queue, and a run scores what it has not seen.

What it says is kept under its own name, apart from the person's votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.bench import Bench

BALANCED = "balanced"
"""The queue without a judge: every prompt alike."""

LABELS = " + its rankings"
"""Ends a choice with which the judge's own rankings are stored too."""


@dataclass(frozen=True)
class Asked:
    """What came of asking a reward model: the run that scores, or "" where everything has its score."""

    judge: str
    run: str = ""


def choices(bench: Bench) -> dict[str, str]:
    """The orders that the queue can have, each with a word about it."""
    from workbench import judging

    found = {BALANCED: "every prompt alike"}
    for run in judging.reward_models(bench):
        found[f"run:{run.id}"] = "first what it is least sure of"
        found[f"run:{run.id}{LABELS}"] = "the same, and it ranks all, apart from you"
    return found


def ask(bench: Bench, choice: str) -> Asked:
    """Lets the reward model of a choice score what it has not scored yet; a run does it, if anything is left."""
    from workbench import judging
    from workbench.judges.reward_model import judge_name

    run_id = choice.removesuffix(LABELS).removeprefix("run:")
    label = choice.endswith(LABELS)
    wish = judging.JudgeOrder(run_id, changes={"label": label})
    run = judging.order(bench, wish)
    if run is not None:
        bench.runs.launch(run)
    elif label:
        judging.label(bench.store, judge_name(run_id))
    return Asked(judge_name(run_id), "" if run is None else run.id)
