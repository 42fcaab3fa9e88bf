"""Which whole weights a run's adapter sits on: the base's, or an ancestor's that was tuned without an adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.errors import RunError
from workbench.job import Job, read_job
from workbench.paths import RunPaths

BELOW = "below"
"""Where the folder of a soft prompt keeps a copy of the LoRA adapter that it stands on."""


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def kind_of(folder: Path) -> str:
    """PEFT's name of the adapter in a folder: LORA, PREFIX_TUNING, PROMPT_TUNING; "" where there is none."""
    return str(config_of(folder).get("peft_type", ""))


def is_soft_prompt(folder: Path) -> bool:
    """Whether the adapter in a folder is put before the text, so that it can be merged into no weight."""
    return kind_of(folder) in ("PREFIX_TUNING", "PROMPT_TUNING")


def below(folder: Path) -> Path | None:
    """The LoRA adapter that the soft prompt in a folder stands on, if it does."""
    return folder / BELOW if is_adapter(folder / BELOW) else None


def layers(folder: Path) -> list[Path]:
    """The adapters in a folder, the lowest first: a soft prompt's own LoRA, then itself; none where there is none."""
    return [place for place in (below(folder), folder) if place is not None and is_adapter(place)]


def is_quick(folder: Path | None) -> bool:
    """Whether an adapter may stay unmerged while it answers. DoRA works out every weight's length for every token."""
    return folder is None or not any(config_of(layer).get("use_dora") for layer in layers(folder))


def config_of(folder: Path) -> dict[str, Any]:
    """What the adapter in a folder says of itself; empty where there is none."""
    try:
        row = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}


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
