"""The order a worker reads: everything a run needs, written once as `job.json` and never changed.

The settings in it are complete (defaults included), so a run can be read years later without this version's
defaults.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.errors import RunError
from workbench.fields import Value

JobKind = Literal["train", "sample", "export", "score"]

FORMAT = 1
"""Raised only when an older worker could misread a newer job."""


@dataclass(frozen=True)
class BaseRef:
    """A base model as a job names it. `path` is 'bundled', a folder, or a hub id that is in the cache."""

    path: str
    name: str
    fingerprint: str = ""
    """What `bases.fingerprint` makes of config.json and the weights: another base of that name is refused."""


@dataclass(frozen=True)
class Job:
    """One run's order. `action` names the file that does it: a method, a sampler, a judge or an export target."""

    run: str
    kind: JobKind
    action: str
    base: BaseRef
    settings: dict[str, Value]
    name: str = ""
    preset: str = ""
    parent: str | None = None
    """The run it starts from: for training the parent in the lineage, for samples and exports the model used."""
    lineage: tuple[str, ...] = ()
    """All ancestors, oldest first, `parent` last."""
    checkpoint: int | None = None
    """The parent's checkpoint to start from; None is its finished model."""
    data: dict[str, str] = field(default_factory=dict)
    """Frozen data files (names in the run's data folder) and their SHA-256."""
    counts: dict[str, int] = field(default_factory=dict)
    """What the data holds, in words for the screen: {'demonstrations': 640, 'held out': 32}."""
    rewards: tuple[str, ...] = ()
    """The reward models it learns from, by run id; copies of them lie in the run's folder."""
    seed: int = 0
    created: float = 0.0
    workbench: str = ""
    format: int = FORMAT

    @property
    def does(self) -> str:
        """What it does in a word or two, as a person says it: `dpo`, `sample`, `judge`, `export gguf`."""
        return {"train": self.action, "sample": "sample", "score": "judge", "export": f"export {self.action}"}[
            self.kind
        ]

    @property
    def title(self) -> str:
        """What a person calls it: `0003 dpo`, with its name if it has one."""
        return f"{self.run} {self.does}" + (f" · {self.name}" if self.name else "")

    def digest(self) -> str:
        """Names the order, so that a resume of a changed job is refused.

        An empty `rewards` is left out: jobs made before there was one keep their digests.
        """
        row = dataclasses.asdict(self)
        if not self.rewards:
            del row["rewards"]
        return hashlib.sha256(_written(row).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        return _written(dataclasses.asdict(self))


def _written(row: dict[str, Any]) -> str:
    return json.dumps(row, indent=1, ensure_ascii=False, sort_keys=True)


def read_job(path: Path) -> Job:
    """The job in a run folder; a RunError where there is none or it cannot be read."""
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if row.get("format", 0) > FORMAT:
            raise RunError(f"{path.parent.name} was ordered by a newer workbench.", "Update the workbench to read it.")
        known = {f.name for f in dataclasses.fields(Job)}
        row = {name: value for name, value in row.items() if name in known}
        row["base"] = BaseRef(**row["base"])
        row["lineage"] = tuple(row.get("lineage", ()))
        row["rewards"] = tuple(row.get("rewards", ()))
        return Job(**row)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"The order of run {path.parent.name} cannot be read ({error}).",
            "job.json in its folder is missing or damaged; the run cannot go on without it.",
        ) from None
