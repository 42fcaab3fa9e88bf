"""What every export job does around its own part: find the model, check it, plan the folder, report progress."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError, InputError
from workbench.events import Metrics, Planned, Step
from workbench.exports import card, source, template
from workbench.exports.adapter import Adapter
from workbench.exports.checking import Checker, Verdict
from workbench.exports.folder import RECORD, Delivery
from workbench.exports.gguf import vocabulary
from workbench.exports.plan import check_memory, megabytes
from workbench.exports.source import Source
from workbench.exports.tensors import Merged, Weights, readable
from workbench.paths import ProjectPaths
from workbench.tokens import ChatTokens

if TYPE_CHECKING:
    from workbench.worker.context import RunContext

STEP_SECONDS = 0.5
"""Progress at most twice a second: a small model's tensors take a millisecond each."""

MIB = 2**20


@dataclass
class Task:
    """One export job, its model found and found sound."""

    context: RunContext
    source: Source
    merged: Merged
    tokens: ChatTokens
    tokenizer: dict[str, Any]
    """tokenizer.json."""
    delivery: Delivery
    checker: Checker


def prepare(context: RunContext) -> Task:
    """Everything that can be refused without writing a byte is refused here."""
    import psutil

    from workbench.worker.model import quiet_libraries

    quiet_libraries()
    context.phase("reading the model")
    found = source.of_job(context.paths, context.job)
    tokenizer = source.read_json(found.tokenizer / "tokenizer.json")
    damage = vocabulary.damage(tokenizer)
    if damage:
        raise ExportError(
            f"The tokenizer of {found.title} is damaged: {damage}", "Get the base's tokenizer.json again."
        )
    tokens = ChatTokens(found.tokenizer)
    model = readable(lambda: Weights(found.model), "Download the model again, or train the run again.")
    merged = Merged(model, Adapter(found.adapter) if found.adapter else None)
    check_memory(merged.peak_bytes, int(psutil.virtual_memory().available), "Merging the largest tensor")
    context.note(f"Merging tensor by tensor holds at most {megabytes(merged.peak_bytes)} of weights in memory.")
    delivery = Delivery(_folder(context, found), card.facts(found, context.job, template.fingerprint(tokens.template)))
    checker = Checker(context, found, merged, tokens)
    context.started(checker.device, str(checker.dtype).removeprefix("torch."))
    return Task(context, found, merged, tokens, tokenizer, delivery, checker)


def _folder(context: RunContext, found: Source) -> Path:
    """Where the export goes; an InputError for a folder that holds other things than an export."""
    out = str(context.job.settings.get("out") or "").strip()
    if not out:
        return ProjectPaths(context.paths.root.parent.parent).exports / found.title
    folder = Path(out).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder.name} is a file, not a folder.", "Name a new folder with out.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise InputError(f"The folder {folder.name} holds other files.", "Name a new or empty folder with out.")
    held = Delivery(folder).record()
    if held and held.get("run") != found.run:
        raise InputError(f"The folder {folder.name} holds an export of another model.", "Name a new folder with out.")
    return folder


class Progress:
    """Bytes written so far, as Step events counted in MiB."""

    def __init__(self, context: RunContext, total_bytes: int) -> None:
        self._context = context
        self._total = max(1, total_bytes)
        self._done = 0
        self._told = 0.0
        context.emit(Planned(total_steps=self._steps(self._total)))

    def add(self, size: int) -> None:
        """Counts bytes, tells of them now and then, and ends the job if the person asked."""
        self._context.check_stop()
        self._done += size
        now = time.monotonic()
        if now - self._told >= STEP_SECONDS or self._done >= self._total:
            self._tell(now)

    def finish(self) -> None:
        """The plan was an estimate: what was not needed counts as done."""
        self._done = max(self._done, self._total)
        self._tell(time.monotonic())

    def _tell(self, now: float) -> None:
        seconds = now - self._told if self._told else 0.0
        self._told = now
        step = self._steps(min(self._done, self._total))
        self._context.progress(step)
        metrics: Metrics = {"bytes": min(self._done, self._total), "bytes_total": self._total}
        self._context.emit(Step(step=step, metrics=metrics, seconds=seconds))

    @staticmethod
    def _steps(size: int) -> int:
        return -(-size // MIB)


def summary(verdicts: dict[str, tuple[Verdict, int]]) -> Metrics:
    """What `Finished` carries: agreement, KL and size of every part."""
    row: Metrics = {}
    for name, (verdict, size) in verdicts.items():
        figures = verdict.figures.get("answers", {})
        row[f"greedy_agreement_{name}"] = figures.get("greedy_agreement")
        row[f"mean_kl_{name}"] = figures.get("mean_kl")
        row[f"size_bytes_{name}"] = float(size)
    return row
