"""A reward model before its first step: the base, or what a run made of it, with a scalar head that is zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from peft.utils.save_and_load import set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from workbench.bases import ancestry
from workbench.errors import StartingPointError
from workbench.job import Job
from workbench.paths import RunPaths
from workbench.tokens import ChatTokens
from workbench.worker import model as models
from workbench.worker.reward_model import HEAD


class FullPrecisionHead(nn.Linear):
    """A linear layer of fp32 weights that computes in fp32 whatever autocast says.

    In bf16 a reward near 4 would come in steps of 0.03, which is more than many answers differ by.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, hidden) to (…, 1)."""
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.float(), self.weight.float())


def load_start(paths: RunPaths, job: Job) -> models.Start:
    """The weights that the settings' `how` names are trainable, and the head with them.

    A starting adapter (a policy's LoRA) is trained on as the reward model's own: the result stands on the base itself.
    """
    settings = job.settings
    how = str(settings["how"])
    base = models.base_of(job)
    folder = ancestry.whole_weights(paths, job, base.path)
    dtype = torch.float32 if how == "full" else models.working_dtype()
    whole = models.load_weights(folder, dtype, four_bit=how == "qlora", scalar_head=True)
    whole.score = zero_head(whole)
    tokens = ChatTokens(base.path, job.created or None)
    start = models.Start(whole, models.load_tokenizer(base.path, tokens), tokens, base.context)
    adapter = paths.start if ancestry.is_adapter(paths.start) else None
    if how in ("lora", "qlora"):
        if folder != base.path:
            raise StartingPointError(
                f"Run {job.parent} has whole weights of its own, on which an adapter would stand that fits no base.",
                "Set how=full or how=last_layers, or start from a run with an adapter, or from the base.",
            )
        torch.manual_seed(int(settings["seed"]))  # an adapter's own start is drawn
        start.model = with_adapter(whole, adapter) if adapter else with_new_adapter(whole, models.lora_config(settings))
        start.adapter = {n: p.detach().float().clone() for n, p in start.model.named_parameters() if p.requires_grad}
        return start
    if adapter:  # whole weights are tuned, so what the parent learnt becomes part of them first
        start.model = with_adapter(whole, adapter).merge_and_unload()
    _unfreeze(start.model, how, int(settings["last_layers"]))
    return start


def zero_head(whole: Any) -> FullPrecisionHead:
    """A head that gives every answer the reward 0, as wide as the model."""
    head = FullPrecisionHead(whole.score.in_features, 1, bias=False, device=whole.device, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    return head


def with_new_adapter(whole: Any, config: LoraConfig) -> Any:
    """The model with a fresh adapter, of which the head is a part."""
    config.task_type, config.modules_to_save = TaskType.SEQ_CLS, ["score"]
    return get_peft_model(whole, config)


def with_adapter(whole: Any, folder: Path) -> Any:
    """The model with a policy's LoRA, and its head beside."""
    config = LoraConfig.from_pretrained(str(folder))
    if not isinstance(config, LoraConfig):
        raise StartingPointError(
            "A reward model can start from a LoRA adapter only.", "Start it from another run, or from the base."
        )
    config.inference_mode, config.base_model_name_or_path = False, None
    head = {f"base_model.model.{HEAD}": whole.score.weight}  # PEFT asks for it, and a policy has none
    model = with_new_adapter(whole, config)
    loaded = set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors") | head)
    if loaded.unexpected_keys:
        raise StartingPointError(
            f"The starting adapter does not fit the base: {loaded.unexpected_keys[0]} fits nowhere.",
            "Start from another run, or from the base.",
        )
    return model


def _unfreeze(whole: Any, how: str, last: int) -> None:
    """Trains every weight, or the head, alone or with the `last` blocks and the final norm; the trained are fp32."""
    if how == "full":
        whole.requires_grad_(True)
        return
    whole.requires_grad_(False)
    trained = [whole.score, *(models.last_blocks(whole, last) if how == "last_layers" else [])]
    for module in trained:
        module.requires_grad_(True)
        module.to(torch.float32)
