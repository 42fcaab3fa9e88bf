"""From a job's settings to the arguments of a transformers Trainer: the part that all of TRL's methods share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workbench.worker.model import working_dtype

OPTIMIZERS = {
    "adamw_torch": "adamw_torch_fused",  # the same arithmetic in one pass over all weights
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "paged_adamw_32bit": "paged_adamw_32bit",
}


@dataclass(frozen=True)
class Batch:
    """How a step's rows go through the model: `micro` at once, `accumulation` times."""

    micro: int
    accumulation: int

    def smaller(self, least: int = 1) -> Batch | None:
        """The next smaller micro-batch, of at least `least` rows, with the same rows a step; None where none is."""
        rows = self.micro * self.accumulation
        for micro in range(self.micro // 2, least - 1, -1):
            if rows % micro == 0:
                return replace(self, micro=micro, accumulation=rows // micro)
        return None


def trainer_arguments(settings: Mapping[str, Any], batch: Batch, folder: Path) -> dict[str, Any]:
    """Keyword arguments of every TRL trainer's config. Saving and measuring are asked for by our callback, not here."""
    dtype = working_dtype()
    on_card = torch.cuda.is_available()
    optimizer = str(settings["optimizer"])
    if optimizer == "auto":
        optimizer = "paged_adamw_8bit" if on_card else "adamw_torch"
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch.micro,
        "per_device_eval_batch_size": batch.micro,
        "gradient_accumulation_steps": batch.accumulation,
        "num_train_epochs": float(settings["epochs"]),
        "max_steps": int(settings["max_steps"]) or -1,
        "learning_rate": float(settings["learning_rate"]),
        "lr_scheduler_type": str(settings["schedule"]),
        "warmup_steps": float(settings["warmup"]),  # below 1 it is a share of all steps
        "weight_decay": float(settings["weight_decay"]),
        "max_grad_norm": float(settings["clip"]),
        "optim": OPTIMIZERS[optimizer],
        # transformers drops the cache, and with it a prefix, where activations are computed twice
        "gradient_checkpointing": bool(settings["gradient_checkpointing"]) and settings.get("how") != "prefix",
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "bf16": dtype is torch.bfloat16,
        "fp16": dtype is torch.float16,
        "use_cpu": not on_card,
        "seed": int(settings["seed"]),
        "data_seed": int(settings["seed"]),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is no number is shown as one, not as the last good one
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": on_card,
        "prediction_loss_only": True,
    }
