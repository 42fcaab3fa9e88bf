"""What every export job does around its own part: find the model, check it, plan the folder, report progress."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import checkpoints
from workbench.errors import CheckpointError, ExportError, InputError
from workbench.events import Metrics, Planned, Step
from workbench.exports import card, source, template
from workbench.exports.adapter import Adapter
from workbench.exports.checking import Checker, Verdict
from workbench.exports.folder import Delivery, folder_for
from workbench.exports.gguf import vocabulary
from workbench.exports.plan import check_memory
from workbench.exports.source import Source
from workbench.exports.tensors import Merged, Weights, readable
from workbench.hardware import human_bytes
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
    _check_content(context, found, model)
    merged = Merged(model, Adapter(found.adapter) if found.adapter else None)
    check_memory(merged.peak_bytes, int(psutil.virtual_memory().available), "Merging the largest tensor")
    context.note(f"Merging block by block holds at most {human_bytes(merged.peak_bytes)} of weights in memory.")
    delivery = Delivery(_folder(context, found), card.facts(found, context.job, template.fingerprint(tokens.template)))
    delivery.begin()
    context.started("cpu", merged.config.get("dtype") or "")
    return Task(context, found, merged, tokens, tokenizer, delivery, Checker(context, found, merged, tokens))


def _check_content(context: RunContext, found: Source, model: Weights) -> None:
    """Refuses files whose content is not what it was when they were published or downloaded, where that is known."""
    for folder in filter(None, {found.adapter, found.model}):
        if (folder / checkpoints.MANIFEST).is_file():
            try:
                checkpoints.verify(folder)
            except CheckpointError as error:
                raise ExportError(
                    f"The files of {found.title} are damaged: {error.message}",
                    "Export an earlier checkpoint, or train the run again.",
                ) from None
    context.phase("checking the base's files")

    def on_bytes(size: int) -> None:
        context.check_stop()
        context.progress(context.step)

    model.check_content(on_bytes)


def _folder(context: RunContext, found: Source) -> Path:
    """Where the export goes; an InputError for a folder that holds other things than exports of this model."""
    out = str(context.job.settings.get("out") or "").strip()
    folder = folder_for(out, found.run) if out else ProjectPaths(context.paths.root.parent.parent).exports / found.title
    held, base = Delivery(folder).record(), context.job.base.fingerprint
    other_base = base and held.get("base", {}).get("fingerprint", base) != base
    if other_base or held.get("model", found.title) != found.title:
        raise InputError(f"The folder {folder.name} holds an export of another model.", "Name a new folder with out.")
    return folder


class Progress:
    """Bytes written so far, as Step events counted in MiB, with the speed of late."""

    def __init__(self, context: RunContext, total_bytes: int) -> None:
        self._context = context
        self._total = max(1, total_bytes)
        self._done = 0
        self._told_at = time.monotonic()
        self._told = 0
        context.emit(Planned(total_steps=self._steps(self._total)))

    def add(self, size: int) -> None:
        """Counts bytes, tells of them now and then, and ends the job if the person asked."""
        self._context.check_stop()
        self._done += size
        now = time.monotonic()
        if now - self._told_at >= STEP_SECONDS:
            self._tell(now)

    def pause(self) -> None:
        """Tells what there is to tell; what happens until the next bytes is not held against the speed."""
        self._tell(time.monotonic())

    def go_on(self) -> None:
        self._told_at = time.monotonic()

    def finish(self) -> None:
        """The plan was an estimate: what was not needed counts as done."""
        self._done = max(self._done, self._total)
        self._tell(time.monotonic())

    def _tell(self, now: float) -> None:
        done = min(self._done, self._total)
        seconds, new = now - self._told_at, done - self._told
        self._told_at, self._told = now, done
        metrics: Metrics = {"bytes": done, "bytes_total": self._total}
        if seconds > 0 and new > 0:
            metrics["bytes_per_second"] = new / seconds
        self._context.progress(self._steps(done))
        # A step's duration is a MiB's, whatever many of them one event tells of: the time left is reckoned from it.
        self._context.emit(Step(step=self._steps(done), metrics=metrics, seconds=seconds * MIB / new if new else 0.0))

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
