"""Which whole weights a run's adapter sits on: the base's, or an ancestor's that was tuned without an adapter."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import RunError
from workbench.job import Job, read_job
from workbench.paths import RunPaths


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def whole_weights(paths: RunPaths, job: Job, base: Path) -> Path:
    """The folder whose whole weights a run starts from; its starting adapter, if any, is in the run's own folder.

    An ancestor that is gone is taken for one with an adapter, whose copy the run holds; a RunError when it holds none.
    """
    while job.parent is not None:
        parent = RunPaths(paths.root.parent / job.parent)
        folder = parent.model if job.checkpoint is None else parent.checkpoint(job.checkpoint)
        if (folder / "config.json").is_file() and not is_adapter(folder):
            return folder
        if not is_adapter(paths.start):
            raise RunError(
                f"Run {job.parent}, from which run {job.run} starts, has no model.",
                "It was deleted or never finished; start from another run.",
            )
        if not parent.job.is_file():
            return base
        paths, job = parent, read_job(parent.job)
    return base
