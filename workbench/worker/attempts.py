"""A run tried again with smaller micro-batches when memory ends, and where each try begins. Needs no trainer."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from workbench import checkpoints
from workbench.errors import MemoryFullError
from workbench.events import Metrics
from workbench.worker import endings
from workbench.worker.arguments import Batch
from workbench.worker.context import RunContext

ATTEMPTS = 4
"""Times a run is tried with ever smaller micro-batches before it is said not to fit."""


def shrinking(context: RunContext, attempt: Callable[[Batch], Metrics], *, least_rows: int = 1) -> Metrics:
    """`attempt` with the settings' batch, then with ever smaller micro-batches of the same rows a step.

    A run that is finished is not tried at all.
    """
    if (context.paths.model / checkpoints.MANIFEST).is_file():
        context.note("The model of this run is finished already; there is nothing left to train.")
        return {}
    settings = context.job.settings
    batch: Batch | None = Batch(int(settings["micro_batch"]), int(settings["accumulation"]))
    for _ in range(ATTEMPTS):
        if batch is None:
            break
        try:
            return attempt(batch)
        except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
            if not endings.is_out_of_memory(error):
                raise
        batch = _shrunk(context, batch, least_rows)
    raise MemoryFullError(
        "The run does not fit into memory, even with the smallest micro-batch that was tried.",
        "Lower max_length or the rank, switch gradient_checkpointing on, or choose a smaller base or preset.",
    )


def _shrunk(context: RunContext, batch: Batch, least_rows: int) -> Batch | None:
    """Frees what the failed attempt held, and says with which smaller micro-batch the run goes on."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    smaller = batch.smaller(least_rows)
    if smaller is not None:
        context.note(
            f"Out of memory with {batch.micro} rows at once. Trying {smaller.micro}, added up over "
            f"{smaller.accumulation}: a step still sees {batch.micro * batch.accumulation} rows.",
            "warning",
        )
    return smaller


def newest_checkpoint(context: RunContext) -> checkpoints.Checkpoint | None:
    """The newest checkpoint that verifies; None for a run that begins. Says which were skipped, and why."""
    newest = checkpoints.newest_valid(context.paths.checkpoints)
    for reason in newest.skipped if newest is not None else ():
        context.note(f"A newer checkpoint cannot be used: {reason}", "warning")
    return newest
