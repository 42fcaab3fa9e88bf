"""An exception as the sentence a run ends with: what happened, and a hint that is true for this run's settings."""

from __future__ import annotations

import errno
from pathlib import Path

from workbench import checkpoints, hardware
from workbench.errors import DiskFullError, MemoryFullError, WorkbenchError
from workbench.events import Failed
from workbench.job import Job
from workbench.methods.shared import WHOLE
from workbench.paths import RunPaths

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = ("No space left on device", "os error 28", "Disk quota exceeded", "File too large")
TORCH_SAVE_WORDS = ("unexpected pos", "PytorchStreamWriter failed", "file write failed")
"""All that torch.save says when the disk is full."""
MEMORY_WORDS = ("out of memory", "can't allocate memory", "Cannot allocate memory", "bad allocation", "std::bad_alloc")
SPARE_BYTES = 64 << 20
"""A torch.save that failed with less than this free failed for want of room."""


def failure(error: BaseException, paths: RunPaths, job: Job | None, last_saved_bytes: int) -> Failed:
    """The event that an exception ends the run with. Removes unfinished checkpoints first if the disk is full."""
    if is_disk_full(error, paths):
        return _disk_full(error, paths, last_saved_bytes)
    if is_out_of_memory(error):
        return _out_of_memory(error, job)
    if isinstance(error, WorkbenchError):
        return Failed(kind=type(error).__name__, message=error.message, hint=error.hint)
    if isinstance(error, ModuleNotFoundError):
        return Failed(
            kind=type(error).__name__,
            message=f"The Python package {error.name!r} is missing.",
            hint="workbench doctor says how to install it.",
        )
    text = f"{type(error).__name__}: {error}".strip().rstrip(".:")
    return Failed(
        kind=type(error).__name__,
        message=f"Something went wrong that the workbench does not know: {text[:400]}.",
        hint="worker.log in the run's folder has the details.",
    )


def is_disk_full(error: BaseException, paths: RunPaths) -> bool:
    """Whether the error, or what caused it, is a full disk (or a file-size limit)."""
    for cause in _causes(error):
        text = str(cause)
        if isinstance(cause, DiskFullError) or (isinstance(cause, OSError) and cause.errno in FULL):
            return True
        if any(words in text for words in FULL_WORDS):
            return True
        if any(words in text for words in TORCH_SAVE_WORDS) and hardware.disk_free(paths.root) < SPARE_BYTES:
            return True
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error, or what caused it, is too little memory, on the card or beside it. Needs no torch."""
    return any(
        isinstance(cause, MemoryError | MemoryFullError)
        or type(cause).__name__ == "OutOfMemoryError"
        or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM)
        or (isinstance(cause, RuntimeError) and any(words in str(cause) for words in MEMORY_WORDS))
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _disk_full(error: BaseException, paths: RunPaths, last_saved_bytes: int) -> Failed:
    unfinished = checkpoints.sweep_partial(paths.checkpoints) + checkpoints.sweep_partial(paths.root)
    free = hardware.disk_free(paths.root)
    hint = f"Free some room there, then: workbench resume {paths.id}"
    if isinstance(error, DiskFullError):
        return Failed(kind="disk_full", message=error.message, hint=error.hint or hint)
    named = next((str(e.filename) for e in _causes(error) if isinstance(e, OSError) and e.filename), "")
    place = Path(named) if named else paths.root
    needed = max(last_saved_bytes, unfinished)
    wanted = f"at least {hardware.human_bytes(needed)} more is needed" if needed else "more room is needed"
    message = f"The disk is full at {place}: {wanted}, {hardware.human_bytes(free)} is free."
    return Failed(kind="disk_full", message=message + " What was saved before is unharmed.", hint=hint)


def _out_of_memory(error: BaseException, job: Job | None) -> Failed:
    if isinstance(error, MemoryFullError):
        return Failed(kind="out_of_memory", message=error.message, hint=error.hint or _memory_hint(job))
    detail = str(error).strip().splitlines()
    said = f" ({detail[0][:200]})" if detail else ""
    return Failed(kind="out_of_memory", message=f"The run ran out of memory{said}.", hint=_memory_hint(job))


def _memory_hint(job: Job | None) -> str:
    """The setting that would save most and is not at its least yet."""
    settings = dict(job.settings) if job is not None else {}
    micro, times = int(settings.get("micro_batch", 1)), int(settings.get("accumulation", 1))
    least = 2 if settings.get("loss_type") == "kto" else 1
    for smaller in range(micro // 2, least - 1, -1):
        if micro * times % smaller == 0:
            rows = f"micro_batch={smaller} and accumulation={micro * times // smaller}"
            return f"Order it again with {rows}: the same training, less memory."
    batch = settings.get("batch", 1)
    if isinstance(batch, int) and batch > 1:
        return f"Order it again with batch={batch // 2}."
    if settings.get("how") in (*WHOLE, "lora"):
        return "Order it again with how=qlora, which needs far less memory."
    if settings.get("gradient_checkpointing") is False:
        return "Order it again with gradient_checkpointing=true."
    length = settings.get("max_length", 0)
    if isinstance(length, int) and length > 256:
        return f"Order it again with max_length={length // 2}."
    return "Close other programs that use memory, or choose a smaller base."
