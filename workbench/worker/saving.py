"""Writes checkpoints and the finished model so that they are whole or absent, and hold no path and no secret."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers.trainer import TRAINER_STATE_NAME

from workbench import checkpoints, hardware
from workbench.events import Saved
from workbench.worker.context import RunContext
from workbench.worker.model import Start

RESERVE_BYTES = 64 * 2**20
"""Room left on the disk for the run's events and log: without it a full disk could not even be reported."""


class Publisher:
    """Saves a trainer's state into the run's folder: into a partial folder first, then under its name."""

    def __init__(self, context: RunContext, start: Start) -> None:
        self.context = context
        self.start = start

    def checkpoint(self, trainer: Any) -> None:
        """Everything a resume needs: weights, optimiser, schedule, scaler, random states, position."""
        step = int(trainer.state.global_step)
        final = self.context.paths.checkpoint(step)
        began = time.monotonic()
        partial = checkpoints.begin(final)
        self._weights(trainer, partial)
        trainer._save_optimizer_and_scheduler(str(partial))
        trainer._save_scaler(str(partial))
        trainer._save_rng_state(str(partial))
        trainer.state.save_to_json(str(partial / TRAINER_STATE_NAME))
        published = self._publish(partial, final, step)
        checkpoints.sweep(self.context.paths.checkpoints, int(self.context.job.settings["keep"]))
        self._say(published, step, began, final=False)

    def model(self, trainer: Any) -> Path:
        """The finished model: adapter or whole weights, with tokenizer, template and generation settings."""
        final = self.context.paths.model
        began = time.monotonic()
        step = int(trainer.state.global_step)
        partial = checkpoints.begin(final)
        self._weights(trainer, partial)
        self.start.tokenizer.save_pretrained(partial)
        _save_generation_config(trainer.model, self.start, partial)
        published = self._publish(partial, final, step)
        self._say(published, step, began, final=True)
        return published

    def _weights(self, trainer: Any, folder: Path) -> None:
        """The trained weights in safetensors. `ref`, DPO's frozen copy, can always be made again from the start."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        if not isinstance(model, PeftModel):
            model.save_pretrained(folder)
            return
        # The base by the name the job gives it: PEFT would write this machine's path, into a model card too.
        model.peft_config["default"].base_model_name_or_path = self.context.job.base.path
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)

    def _publish(self, partial: Path, final: Path, step: int) -> Path:
        job = self.context.job
        return checkpoints.publish(partial, final, {"step": step, "job": job.digest(), "data": dict(job.data)})

    def _say(self, published: Path, step: int, began: float, *, final: bool) -> None:
        size = sum(file.stat().st_size for file in published.rglob("*") if file.is_file())
        name = str(published.relative_to(self.context.paths.root))
        self.context.emit(Saved(step=step, path=name, size_bytes=size, seconds=time.monotonic() - began, final=final))


def _save_generation_config(model: Any, start: Start, folder: Path) -> None:
    """generation_config.json with every token that ends an answer, so that others stop where the model learnt to."""
    base = getattr(model, "generation_config", None) or getattr(model.get_base_model(), "generation_config", None)
    settings: dict[str, Any] = base.to_diff_dict() if base is not None else {}
    settings.update(eos_token_id=start.tokens.end_ids, pad_token_id=start.tokenizer.pad_token_id)
    text = json.dumps(settings, indent=1, sort_keys=True)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")


def needed_bytes(trained_parameters: int, whole_weights: bool) -> int:
    """What a checkpoint takes on disk: fp32 weights (4), and AdamW's two moments (8) a trained parameter."""
    return trained_parameters * 12 + (trained_parameters * 4 if whole_weights else 0)


def check_room(folder: Path, trained_parameters: int) -> None:
    """Refuses to start a run whose first two checkpoints would not fit: the second is written before the first goes."""
    needed = 2 * needed_bytes(trained_parameters, False) + RESERVE_BYTES
    hardware.require_room(folder, needed, "Saving this run's checkpoints")
