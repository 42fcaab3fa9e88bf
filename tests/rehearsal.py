"""A real worker process that does a job without torch: the engine's own main, with one of the acts below as the work.

`python -m tests.rehearsal RUN_DIR`; the job's `act` setting names the act.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from workbench import checkpoints
from workbench.errors import BaseModelError
from workbench.events import Completed, Metrics, Planned, Saved, Step
from workbench.worker.__main__ import work
from workbench.worker.context import RunContext, StopRequested


def train(context: RunContext) -> Metrics:
    """A trainer whose state is a chain of hashes, so any step lost or done twice shows in the end.

    Its first life takes its time, so that it can be disturbed; later ones hurry. At the step `hold` it waits
    for a file called go.
    """
    settings = context.job.settings
    total, pause, every = int(settings["steps"]), float(settings["seconds"]), int(settings["save_every"])
    newest = checkpoints.newest_valid(context.paths.checkpoints)
    step = newest.step if newest else 0
    state = (newest.path / "state").read_text() if newest else ""
    lives = len(list(context.paths.root.glob("life-*")))
    (context.paths.root / f"life-{lives}").touch()
    pause = 0.0 if lives else pause
    context.started("cpu", "float32", resumed_from=step if lives else None)
    context.emit(Planned(total_steps=total))
    while step < total:
        if context.stop_requested():
            _save(context, step, state)
            raise StopRequested
        while step == settings.get("hold") and not (context.paths.root / "go").exists():
            time.sleep(0.002)
        if pause:
            time.sleep(pause)
        step += 1
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
        context.emit(Step(step=step, metrics={"loss": 1 / step}, seconds=max(pause, 1e-3), tokens=10))
        if every and step % every == 0:
            _save(context, step, state)
    (context.paths.root / "result").write_text(state)
    return {"loss": 1 / max(1, step)}


def _save(context: RunContext, step: int, state: str) -> None:
    final = context.paths.checkpoint(step)
    partial = checkpoints.begin(final)
    (partial / "state").write_text(state)
    (partial / "weights").write_bytes(os.urandom(200_000))
    checkpoints.publish(partial, final, {"step": step})
    checkpoints.sweep(context.paths.checkpoints, keep=2)
    context.emit(Saved(step=step, path=final.name, size_bytes=200_000))


def chain(steps: int) -> str:
    """What `train` must end with."""
    state = ""
    for step in range(1, steps + 1):
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
    return state


def fail(context: RunContext) -> None:
    """Raises what the job names."""
    context.started()
    raise {
        "known": BaseModelError("There is no such base.", "workbench models lists them."),
        "bug": ValueError("a bug"),
        "memory": MemoryError(),
        "card": type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2.00 GiB"),
        "disk": OSError(errno.ENOSPC, "No space left on device", str(context.paths.checkpoint(3) / "optimizer.pt")),
        "exit": SystemExit(3),
    }[str(context.job.settings["error"])]


def shout(context: RunContext) -> None:
    """Writes 200 MB to stderr the way C code does, and some words before and after."""
    context.started()
    sys.stderr.write("the first words\n")
    sys.stderr.flush()
    noise = b"x" * 99 + b"\n"
    for _ in range(200):
        os.write(2, noise * 10_000)
    sys.stderr.write("the last words\n")


def stuck(context: RunContext) -> None:
    """Spends minutes inside one C call that no signal interrupts."""
    context.started()
    context.emit(Step(step=1, seconds=0.1))
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**30)


def crash(context: RunContext) -> None:
    """Dies of a segmentation fault."""
    context.started()
    ctypes.string_at(0)


def crowded(context: RunContext) -> None:
    """Goes on while its event log cannot grow, and saves a checkpoint meanwhile."""
    import resource

    context.started()
    resource.setrlimit(resource.RLIMIT_FSIZE, (context.paths.events.stat().st_size + 300, resource.RLIM_INFINITY))
    for step in range(1, 21):
        context.emit(Step(step=step, metrics={"loss": 1.0}, seconds=0.1))
    if context.job.settings["relief"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        context.emit(Step(step=21, metrics={"loss": 1.0}, seconds=0.1))
        return
    raise OSError(errno.ENOSPC, "No space left on device")


def answer(context: RunContext) -> None:
    """Answers ten prompts, those that are left; the first life has a disk with room for a few answers only."""
    import resource

    from workbench.tail import Tail  # late: it brings numpy

    held = {event.prompt_id for event in Tail(context.paths.events).read() if isinstance(event, Completed)}
    context.started()
    if not held:
        resource.setrlimit(resource.RLIMIT_FSIZE, (context.paths.events.stat().st_size + 500, resource.RLIM_INFINITY))
    for prompt_id in range(10):
        if prompt_id not in held:
            context.emit(Completed(prompt_id=prompt_id, text="an answer", tokens=3))
            (context.paths.root / f"answered-{prompt_id}").touch()


def surroundings(context: RunContext) -> None:
    """Notes what the worker sees around itself."""
    context.started()
    context.note("ENV " + " ".join(sorted(os.environ)))
    context.note(f"CWD {Path.cwd() == context.paths.root}")
    context.note(f"SID {os.getsid(0) == os.getpid()}")
    context.note(f"STDIN {Path('/proc/self/fd/0').resolve()}")
    context.note(f"TORCH {'torch' in sys.modules}")
    import random

    context.note(f"RANDOM {hasattr(random, 'hijacked')}")


ACTS: dict[str, Callable[[RunContext], Metrics | None]] = {
    act.__name__: act for act in (train, fail, shout, stuck, crash, crowded, answer, surroundings)
}

if __name__ == "__main__":
    code = work(Path(sys.argv[1]), lambda context: ACTS[str(context.job.settings["act"])](context))
    sys.stderr.flush()
    os._exit(code)
