"""What the training tests stand on: a tiny base, run folders without an app, and a context that records."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.training.export_fixtures import export_base, exporting, file_limit, lora_run  # noqa: F401  # fixtures
from workbench import events, methods, presets
from workbench.fields import Value
from workbench.job import BaseRef, Job, read_job
from workbench.paths import BUNDLED_BASE, DEMO_DATA, RunPaths
from workbench.worker.context import RunContext

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: threads that spin starve others

Rows = list[dict[str, Any]]
MakeRun = Callable[..., "Recorder"]


def said(role: str, text: str) -> list[dict[str, str]]:
    """A conversation of one turn."""
    return [{"role": role, "content": text}]


class Recorder(RunContext):
    """A run's context that writes and keeps its events; `stop_at` asks it to stop before that step."""

    def __init__(self, paths: RunPaths, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.log: list[events.Event] = []
        super().__init__(
            paths, read_job(paths.job), self._write, lambda: self.stop_at is not None and self.step >= self.stop_at - 1
        )

    def _write(self, event: events.Event) -> None:
        self.log.append(event)
        with self.paths.events.open("ab") as file:
            file.write(events.encode(event))

    def of(self, kind: type[events.Event]) -> list[Any]:
        """The events of a kind."""
        return [event for event in self.log if isinstance(event, kind)]

    def metric(self, name: str) -> dict[int, float | None]:
        """A training metric by step."""
        return {event.step: event.metrics.get(name) for event in self.of(events.Step)}

    def again(self, stop_at: int | None = None) -> Recorder:
        """The same run, taken up by a new worker."""
        return Recorder(self.paths, stop_at)

    def train(self) -> Recorder:
        methods.module(self.job.action).train(self)
        return self


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Two busy cores are shared: one thread is steadier, and sums come out in one order."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with the bundled tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=json.loads((BUNDLED_BASE / "config.json").read_text())["vocab_size"],
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            tie_word_embeddings=False,
        )
    )
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(BUNDLED_BASE / name, folder)
    return folder


@pytest.fixture(scope="session")
def demonstrations() -> Rows:
    """Demonstrations of the demo as SFT rows."""
    lines = (DEMO_DATA / "demonstrations.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:60]]
    return [{"prompt": said("user", r["prompt"]), "completion": said("assistant", r["completion"])} for r in rows]


@pytest.fixture(scope="session")
def pairs(demonstrations: Rows) -> Rows:
    """Preference pairs: a demonstration against an evasion."""
    evasion = said("assistant", "Well, what a day it is!")
    return [{"prompt": r["prompt"], "chosen": r["completion"], "rejected": evasion} for r in demonstrations]


@pytest.fixture(scope="session")
def thumbs(pairs: Rows) -> Rows:
    """Every demonstration called good, and every second prompt's evasion called bad."""
    good = [{"prompt": p["prompt"], "completion": p["chosen"], "label": True} for p in pairs]
    bad = [{"prompt": p["prompt"], "completion": p["rejected"], "label": False} for p in pairs]
    return [row for number, both in enumerate(zip(good, bad, strict=True)) for row in both[: 1 + number % 2]]


@pytest.fixture(scope="session")
def rankings(demonstrations: Rows) -> Rows:
    """Two to four answers to a prompt: its demonstration above an evasion, silence and shouting, these two tied."""
    others = [said("assistant", text) for text in ("Well, what a day it is!", "…", "NO! GO AWAY! STOP IT!")]
    tiers = ([[0], [1]], [[0], [1], [2]], [[0], [1], [2, 3]])
    return [
        {
            "prompt": r["prompt"],
            "answers": [r["completion"], *others[: 1 + number % 3]],
            "rankings": [tiers[number % 3]],
        }
        for number, r in enumerate(demonstrations)
    ]


@pytest.fixture(scope="session")
def asked() -> Rows:
    """Prompts of the demo with their right answers."""
    lines = (DEMO_DATA / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**row, "prompt": said("user", row["prompt"])} for row in map(json.loads, lines[:60])]


@pytest.fixture(scope="session")
def rows_by_need(demonstrations: Rows, pairs: Rows, thumbs: Rows, rankings: Rows, asked: Rows) -> dict[str, Rows]:
    """Rows of each kind that a method can need."""
    return {
        "demonstrations": demonstrations,
        "pairs": pairs,
        "thumbs": thumbs,
        "rankings": rankings,
        "prompts": asked,
    }


QUICK: dict[str, Value] = {
    "max_steps": 4,
    "micro_batch": 2,
    "accumulation": 2,
    "eval_every": 2,
    "save_every": 2,
    "watch_every": 2,
    "rank": 4,
}


@pytest.fixture
def make_run(tmp_path: Path, tiny_base: Path, rows_by_need: dict[str, Rows]) -> MakeRun:
    """Makes a run folder with frozen data as `Runs.create` does, and returns its context."""

    def make(
        action: str = "sft",
        name: str = "0001",
        *,
        base: Path = tiny_base,
        rows: Iterable[Mapping[str, Any]] | None = None,
        parent: Recorder | None = None,
        stop_at: int | None = None,
        **changes: Any,
    ) -> Recorder:
        paths = RunPaths(tmp_path / "runs" / name)
        paths.data.mkdir(parents=True)
        settings = presets.get("cpu").settings(action, {**QUICK, **changes})
        known = rows_by_need[methods.get(action).needs]
        found = list(rows) if rows is not None else known[:24]
        job = Job(
            run=name,
            kind="train",
            action=action,
            base=BaseRef(str(base), base.name),
            settings=settings,
            parent=parent.job.run if parent else None,
            lineage=(*parent.job.lineage, parent.job.run) if parent else (),
        )
        paths.job.write_text(job.to_json(), encoding="utf-8")
        held_out = known[24:28]
        for file, content in (
            ("train", found),
            ("held_out", held_out),
            ("watch", [{"prompt": held_out[0]["prompt"]}]),
        ):
            lines = "".join(json.dumps(row) + "\n" for row in content)
            (paths.data / f"{file}.jsonl").write_text(lines, encoding="utf-8")
        if parent is not None and (parent.paths.model / "adapter_config.json").is_file():
            shutil.copytree(parent.paths.model, paths.start)
        return Recorder(paths, stop_at)

    return make


@pytest.fixture(scope="session")
def rewarded() -> dict[str, Any]:
    """Where the first test that trains a reward model leaves it for those that only read it."""
    return {}


@pytest.fixture
def trained_reward(make_run: MakeRun, rewarded: dict[str, Any]) -> Recorder:
    """A short run on rankings of two to four answers, on the NF4 base."""
    if "run" not in rewarded:
        rewarded["run"] = make_run("reward", "0004", how="qlora", max_steps=6, learning_rate=1e-2).train()
    run: Recorder = rewarded["run"]
    return run
