"""Writes checkpoints and the finished model so that they are whole or absent, and hold no path and no secret."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import PeftModel

from workbench import checkpoints, hardware
from workbench.bases import ancestry
from workbench.events import Saved
from workbench.worker import soft_prompt
from workbench.worker.context import RunContext
from workbench.worker.model import Start

RESERVE_BYTES = 64 * 2**20
"""Room left on the disk for the run's events and log: without it a full disk could not even be reported."""


class Publisher:
    """Saves a training's state into the run's folder: into a partial folder first, then under its name."""

    def __init__(self, context: RunContext, start: Start) -> None:
        self.context = context
        self.start = start

    def checkpoint(self, trainer: Any) -> None:
        """Everything that a trainer needs to resume: weights, optimiser, schedule, scaler, random states, position."""
        from transformers.trainer import TRAINER_STATE_NAME  # brings along 84 MB that only a trainer needs

        def write(folder: Path) -> None:
            trainer._save_optimizer_and_scheduler(str(folder))
            trainer._save_scaler(str(folder))
            trainer._save_rng_state(str(folder))
            trainer.state.save_to_json(str(folder / TRAINER_STATE_NAME))

        self.step(_bare(trainer), int(trainer.state.global_step), write)

    def step(self, model: Any, step: int, write: Callable[[Path], None]) -> None:
        """A checkpoint: the weights, and what `write` puts beside them."""
        final = self.context.paths.checkpoint(step)
        began = time.monotonic()
        partial = checkpoints.begin(final)
        self._weights(model, partial)
        write(partial)
        published = self._publish(partial, final, step)
        checkpoints.sweep(self.context.paths.checkpoints, int(self.context.job.settings["keep"]))
        self._say(published, step, began, final=False)

    def model(self, trainer: Any) -> Path:
        """A trainer's finished model."""
        # a reward model writes no answers, and says other things
        return self.finished(_bare(trainer), int(trainer.state.global_step), getattr(trainer, "save_beside", None))

    def finished(self, model: Any, step: int, beside: Callable[[Path], None] | None = None) -> Path:
        """The finished model: adapter or whole weights, with tokenizer, template and generation settings.

        With `beside` that writes what belongs in the place of the generation settings.
        """
        final = self.context.paths.model
        began = time.monotonic()
        partial = checkpoints.begin(final)
        self._weights(model, partial)
        self.start.tokenizer.save_pretrained(partial)
        # transformers 5 rebuilds some tokenizers from their class (SmolLM2's loses its split of digits): this one is
        # the one whose tokens were trained on.
        self.start.tokens.tokenizer.save(str(partial / "tokenizer.json"))
        if beside is not None:
            beside(partial)
        else:
            _save_generation_config(model, self.start, partial)
        published = self._publish(partial, final, step)
        self._say(published, step, began, final=True)
        return published

    def _weights(self, model: Any, folder: Path) -> None:
        """The trained weights in safetensors. `ref`, DPO's frozen copy, can always be made again from the start."""
        if not isinstance(model, PeftModel):
            model.save_pretrained(folder)
            return
        # The base by the name the job gives it: PEFT would write this machine's path, into a model card too.
        model.peft_config["default"].base_model_name_or_path = self.context.job.base.path
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        if soft_prompt.is_soft(model):
            self._copy_below(folder)

    def _copy_below(self, folder: Path) -> None:
        """Beside a soft prompt, the LoRA adapter that it was trained on."""
        start = self.context.paths.start
        lora = ancestry.below(start) if ancestry.is_soft_prompt(start) else start
        if lora is not None and ancestry.is_adapter(lora):
            (folder / ancestry.BELOW).mkdir()
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                shutil.copyfile(lora / name, folder / ancestry.BELOW / name)

    def _publish(self, partial: Path, final: Path, step: int) -> Path:
        job = self.context.job
        return checkpoints.publish(partial, final, {"step": step, "job": job.digest(), "data": dict(job.data)})

    def _say(self, published: Path, step: int, began: float, *, final: bool) -> None:
        size = sum(file.stat().st_size for file in published.rglob("*") if file.is_file())
        name = str(published.relative_to(self.context.paths.root))
        self.context.emit(Saved(step=step, path=name, size_bytes=size, seconds=time.monotonic() - began, final=final))


def _bare(trainer: Any) -> Any:
    return trainer.accelerator.unwrap_model(trainer.model)


def _save_generation_config(model: Any, start: Start, folder: Path) -> None:
    """generation_config.json with every token that ends an answer, so that others stop where the model learnt to."""
    base = getattr(model, "generation_config", None) or getattr(model.get_base_model(), "generation_config", None)
    settings: dict[str, Any] = base.to_diff_dict() if base is not None else {}
    settings.update(eos_token_id=start.tokens.end_ids, pad_token_id=start.tokenizer.pad_token_id)
    text = json.dumps(settings, indent=1, sort_keys=True)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")


def frozen_bytes(model: Any) -> int:
    """What a checkpoint holds beside the trained weights: all others of a model without an adapter."""
    if isinstance(model, PeftModel):
        return 0
    return sum(weight.numel() * weight.element_size() for weight in model.parameters() if not weight.requires_grad)


def check_room(folder: Path, trained_parameters: int, frozen: int = 0) -> None:
    """Refuses to start a run whose first two checkpoints would not fit: the second is written before the first goes.

    A trained parameter takes 12 bytes, its fp32 weight (4) and AdamW's two moments (8); `frozen` is in bytes.
    """
    needed = 2 * (trained_parameters * 12 + frozen) + RESERVE_BYTES
    hardware.require_room(folder, needed, "Saving this run's checkpoints")
