"""Every folder and file name we own. No other module builds one from parts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
ASSETS = PACKAGE_ROOT / "assets"
PRESETS = PACKAGE_ROOT / "presets"
BUNDLED_BASE = ASSETS / "base"
DEMO_DATA = ASSETS / "demo"

STORE_NAME = "workbench.db"


def home() -> Path:
    """The person's own folder (settings, recent projects, the card's lease): `WORKBENCH_HOME` or XDG's data folder."""
    override = os.environ.get("WORKBENCH_HOME")
    if override:
        return Path(override)
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "workbench"


def lease_folder() -> Path:
    """Where workers queue for the card: one per machine and person, shared by all projects."""
    return home() / "card"


def preferences_file() -> Path:
    return home() / "preferences.json"


def config_file() -> Path:
    """What a person writes themselves: keys, and how the screens are drawn."""
    return home() / "config.toml"


def recent_projects_file() -> Path:
    return home() / "recent.json"


def hub_cache() -> Path:
    """The Hugging Face hub's cache, found by the hub's own rules without importing its library."""
    cache = os.environ.get("HF_HUB_CACHE")
    if cache:
        return Path(cache)
    root = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    return Path(root).expanduser() / "hub"


@dataclass(frozen=True)
class ProjectPaths:
    """The files of one project folder."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / STORE_NAME

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    def run(self, run_id: str) -> RunPaths:
        return RunPaths(self.runs / run_id)


@dataclass(frozen=True)
class RunPaths:
    """The files of one run folder: complete but for the base's weights, so it can be copied elsewhere."""

    root: Path

    @property
    def id(self) -> str:
        return self.root.name

    @property
    def job(self) -> Path:
        return self.root / "job.json"

    @property
    def data(self) -> Path:
        """Frozen data: what the run trains on, whatever happens to the store afterwards."""
        return self.root / "data"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "worker.log"

    @property
    def process(self) -> Path:
        """Who works on it: pid, start time and boot id, written by the worker itself."""
        return self.root / "process.json"

    @property
    def stop_request(self) -> Path:
        """Its presence asks the worker to stop at the next step."""
        return self.root / "stop"

    @property
    def start(self) -> Path:
        """The starting adapter, when the run starts from another run: a copy, so the folder stays complete."""
        return self.root / "start"

    def reward(self, run_id: str) -> Path:
        """A reward model it learns from: a copy, for the same reason."""
        return self.root / "rewards" / run_id

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    @property
    def model(self) -> Path:
        """What the run produced: an adapter or whole weights, with the tokenizer and its template."""
        return self.root / "model"
