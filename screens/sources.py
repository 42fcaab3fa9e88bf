"""The models that a run can start from or sample with, as choices of a form: the base, finished runs, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from screens.safe import one_line

if TYPE_CHECKING:
    from workbench.bench import Bench


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
