"""Which model an export or a chat is about: base, adapter, tokenizer, and how it was trained. No torch here."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.bases import ancestry
from workbench.errors import BaseModelError, ExportError, RunError
from workbench.exports.adapter import CONFIG as ADAPTER_CONFIG
from workbench.job import BaseRef, Job, read_job
from workbench.paths import RunPaths


@dataclass(frozen=True)
class Source:
    """A model as its files: whole weights in `model`, perhaps an adapter on top, the tokenizer it was tuned with."""

    model: Path
    adapter: Path | None
    tokenizer: Path
    base: str
    """The base's name, for people."""
    run: str | None = None
    job: Job | None = None
    """The training run's order, if a run made it."""
    licence: str = ""
    name: str = ""
    """What an adapter is called that no run of ours made."""

    @property
    def config(self) -> dict[str, Any]:
        return read_json(self.model / "config.json")

    @property
    def trained_in_4bit(self) -> bool:
        """Whether the adapter learned on an NF4 base, so that what was trained is not quite what is merged."""
        return self.adapter is not None and self.job is not None and self.job.settings.get("how") == "qlora"

    @property
    def title(self) -> str:
        """A name for files and people: `0003-sft`, or the base's."""
        if self.run is None or self.job is None:
            return safe_name(self.name or self.base)
        return f"{self.run}-{safe_name(self.job.name or self.job.action)}"


def safe_name(text: str) -> str:
    """A file name made of a person's text: letters, digits, dots and dashes of its last path component."""
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(text).name or "model")
    return kept.strip("-.")[:60] or "model"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder; an ExportError in a sentence where it is none."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(
            f"{path.name} in {path.parent.name} cannot be read ({type(error).__name__}).",
            "The model's folder is incomplete or damaged; download or train it again.",
        ) from None
    if not isinstance(row, dict):
        raise ExportError(f"{path.name} in {path.parent.name} is not a JSON object.", "Download the model again.")
    return row


def of_base(reference: BaseRef, base16: str = "") -> Source:
    """The base alone; a BaseModelError where it is another than the one the job names.

    `base16` is its 16-bit original, where the base itself is quantised.
    """
    from workbench.exports import original

    base = original.of(reference.path, base16)
    known = original.found(reference.path)
    if reference.fingerprint and known is not None and known.fingerprint != reference.fingerprint:
        raise BaseModelError(
            f"The base {reference.name} is not the one the run was trained on: its files have changed.",
            "Put the base's original files back, or train again on the new ones.",
        )
    return Source(base.path, None, base.path, base.name, licence=base.licence)


def of_job(paths: RunPaths, job: Job) -> Source:
    """The model that an export's job names: its parent run's (or that run's checkpoint), else the base itself.

    Without a parent, an adapter that no run of ours made may be put upon it.
    """
    base16, adapter = (str(job.settings.get(name) or "") for name in ("base16", "adapter"))
    if job.parent is not None:
        start = paths.start if paths.start.is_dir() else None
        return of_run(paths.root.parent / job.parent, checkpoint=job.checkpoint, folder=start, base16=base16)
    found = of_base(job.base, base16)
    if not adapter:
        return found
    folder = Path(adapter)
    tokenizer = folder if (folder / "tokenizer.json").is_file() else found.tokenizer
    return replace(found, adapter=folder, tokenizer=tokenizer, name=folder.name)


def of_run(run: Path, *, checkpoint: int | None = None, folder: Path | None = None, base16: str = "") -> Source:
    """The model a training run made; `folder` is a copy of its adapter to use instead of the run's own."""
    paths = RunPaths(run)
    job = read_job(paths.job)
    made = folder or _made(paths, checkpoint)
    under = of_base(job.base, base16)
    if not (made / ADAPTER_CONFIG).is_file():
        model, adapter = made, None
    else:
        model, adapter = ancestry.whole_weights(paths, job, under.model), made
    tokenizer = next((place for place in (made, model) if (place / "tokenizer.json").is_file()), under.model)
    return Source(model, adapter, tokenizer, under.base, run.name, job, under.licence)


def _made(paths: RunPaths, checkpoint: int | None) -> Path:
    """The folder with what the run made: an adapter or whole weights."""
    top = paths.model if checkpoint is None else paths.checkpoint(checkpoint)
    for folder in (top, top / "model", top / "adapter"):
        if (folder / ADAPTER_CONFIG).is_file() or (folder / "config.json").is_file():
            return folder
    what = "has no finished model" if checkpoint is None else f"has no checkpoint at step {checkpoint}"
    raise RunError(f"Run {paths.id} {what}.", f"Let it finish: workbench resume {paths.id}.")
