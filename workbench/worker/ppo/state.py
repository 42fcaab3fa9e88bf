"""What a PPO run needs to go on exactly where it was, written beside the policy's weights in a checkpoint.

No random state is among it: every draw is made with a generator that follows from the seed and the step.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.utils.save_and_load import set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from workbench.errors import CheckpointError
from workbench.worker.ppo.advantages import Moments
from workbench.worker.ppo.roles import POLICY, Roles

PROGRESS = "ppo.json"
VALUE = "value.safetensors"
OPTIMIZER = "optimizer.pt"
ADAPTER = "adapter_model.safetensors"


@dataclass
class Progress:
    """How far the run is, and what it has learnt beside weights."""

    beta: float
    step: int = 0
    updates: int = 0
    """Optimiser steps made."""
    scores: Moments = field(default_factory=Moments)
    broken_steps: int = 0
    """Steps in a row with a loss or gradient that was no number."""


@dataclass
class State:
    """All that changes while a run goes on, with the model that it changes."""

    roles: Roles
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    progress: Progress

    def save(self, folder: Path) -> None:
        """Everything beside the policy's own weights."""
        value = {name: p.detach().cpu().contiguous() for name, p in self.roles.value.items()}
        save_file(value, folder / VALUE)
        torch.save({"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}, folder / OPTIMIZER)
        (folder / PROGRESS).write_text(json.dumps(asdict(self.progress), indent=1), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Takes everything from a checkpoint, the policy's weights too."""
        _load_policy(self.roles, folder)
        value = load_file(folder / VALUE)
        _copy(self.roles.value, value, folder)
        saved: dict[str, Any] = torch.load(folder / OPTIMIZER, map_location=self.roles.device, weights_only=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        row = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        self.progress = Progress(**{**row, "scores": Moments(**row["scores"])})


def _load_policy(roles: Roles, folder: Path) -> None:
    if isinstance(roles.model, PeftModel):
        set_peft_model_state_dict(roles.model, load_file(folder / ADAPTER), adapter_name=POLICY)
        return
    weights = {
        name: value for file in sorted(folder.glob("model*.safetensors")) for name, value in load_file(file).items()
    }
    _copy(roles.policy, weights, folder)


def _copy(parameters: dict[str, Any], values: dict[str, torch.Tensor], folder: Path) -> None:
    missing = [name for name in parameters if name not in values]
    if missing:
        raise CheckpointError(
            f"{folder.name} lacks weights of this run ({missing[0]}).", "Another version wrote it; begin the run again."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
