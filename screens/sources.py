"""The models that a run can start from or sample with, as choices of a form: the base, finished runs, checkpoints.

Reward models are none of them: they score answers and write none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from screens.safe import one_line

if TYPE_CHECKING:
    from workbench.bench import Bench
    from workbench.job import Job
    from workbench.runs import Run


@dataclass(frozen=True)
class Source:
    """One model: `run` is None for the base, `checkpoint` None for a run's finished model."""

    label: str
    run: str | None = None
    checkpoint: int | None = None


def sources(bench: Bench) -> list[Source]:
    """The base, then training runs from the newest, each with its finished model and its checkpoints."""
    found = [Source(f"base: {one_line(bench.base.rstrip('/').rpartition('/')[2], 60)}")]
    for run in reversed(bench.runs.all("train")):
        if makes_rewards(run.job):
            continue
        title = one_line(run.job.title, 60)
        if run.paths.model.is_dir():
            found.append(Source(title, run.id))
        steps = sorted((_step(folder.name) for folder in run.paths.checkpoints.glob("step-*")), reverse=True)
        found += [Source(f"{title} @ step {step}", run.id, step) for step in steps if step >= 0]
    return found


def _step(name: str) -> int:
    """The step of a published checkpoint's folder; -1 for one that is still being written."""
    number = name.removeprefix("step-")
    return int(number) if number.isdigit() else -1


def rewards(bench: Bench) -> dict[str, str]:
    """What a reward can be made of, and what each is: reward models from the newest, then the rules."""
    from workbench import judging
    from workbench.judges.rules import RULES

    judges = {f"run:{run.id}": f"reward model {run.job.name}".rstrip() for run in judging.reward_models(bench)}
    return judges | {f"rule:{rule.name}": rule.help for rule in RULES.values()}


def makes_rewards(job: Job) -> bool:
    """Whether a run trains a reward model."""
    from workbench import methods

    return methods.made_by(job) == "reward model"


def why_no_model(run: Run, action: str) -> str:
    """Why that run's model cannot be sampled, exported or talked with, in a sentence; "" if it can."""
    if action not in ("sample", "export", "chat"):
        return ""
    if run.job.kind != "train":
        return "Only training runs have a model."
    if makes_rewards(run.job):
        return f"Run {run.id} is a reward model: it scores answers and writes none."
    return "" if run.paths.model.is_dir() else f"The model of run {run.id} is there once it has finished."
