"""A trained reward model, ready to score: an adapter and a scalar head on a base that is in memory already, or loaded.

It never trains. What it borrows it gives back as it was: the active adapter, the gradient flags, the modes of all
modules and the random state, so that a policy on the same base does not notice that it was scored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.save_and_load import set_peft_model_state_dict
from safetensors.torch import load_file
from torch.nn import functional as F

from workbench.bases import ancestry
from workbench.bases.model_folder import Base
from workbench.errors import StartingPointError
from workbench.worker import active_adapter
from workbench.worker import model as models

TOKENS_AT_ONCE = 8192
"""Tokens of a chunk, padding included: hidden states of a 4,096 wide base then take 64 MB in 16 bits."""

HEAD = "score.weight"
"""How the name of the head's weights ends, in an adapter's file and in whole weights."""


@dataclass(frozen=True)
class RewardModel:
    """Scores conversations. `adapter` is its adapter's name in `model`; None where the weights are whole."""

    model: Any
    head: torch.Tensor  # (1, hidden), fp32
    adapter: str | None

    @torch.no_grad()
    def score(self, rows: Sequence[Sequence[int]], tokens_at_once: int = TOKENS_AT_ONCE) -> torch.Tensor:
        """The reward of each conversation, (N,) fp32: token ids of prompt, answer and its end token.

        It is read at the last token, so a row that is cut before its end is scored as the beginning that it is.
        """
        scores = torch.empty(len(rows), device=self.head.device)  # (N,)
        with self._borrowed():
            for places in _chunks([len(row) for row in rows], tokens_at_once):
                last = self._last_hidden([rows[place] for place in places])  # (n, hidden)
                scores[places] = F.linear(last.float(), self.head).squeeze(-1)
        return scores

    def _last_hidden(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Hidden states at the last tokens, (n, hidden). Padding stands on the right, where no real token sees it."""
        device = self.head.device
        lengths = torch.tensor([len(row) for row in rows], device=device)  # (n,)
        width = int(lengths.max())
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)  # (n, T)
        seen = torch.arange(width, device=device) < lengths[:, None]  # (n, T)
        with torch.autocast(device.type, models.working_dtype(), enabled=device.type != "cpu"):
            hidden = _backbone(self.model)(input_ids=ids, attention_mask=seen.long(), use_cache=False)
        return hidden.last_hidden_state[torch.arange(len(rows), device=device), lengths - 1]

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[None]:
        """The model with this adapter alone active and no dropout; afterwards as it was."""
        modes = [(module, module.training) for module in self.model.modules()]
        random = _random_state()
        self.model.eval()
        try:
            with active_adapter.only(self.model, self.adapter):
                yield
        finally:
            for module, training in modes:
                module.training = training
            _restore_random_state(random)


def attach(model: Any, folder: Path, name: str) -> RewardModel:
    """The reward model in `folder` as the adapter `name` of a model in memory on the same base: no second base.

    `model` is a PeftModel, or a base whose weights are all frozen. Where the base itself is trained the scores would
    drift with it, so that is a StartingPointError: `load` puts one of its own beside.
    """
    if not ancestry.is_adapter(folder):
        raise StartingPointError(
            f"The reward model {folder.name} has whole weights of its own.", "It can only be loaded beside the policy."
        )
    _check_frozen(model)
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    random = _random_state()
    config = LoraConfig.from_pretrained(str(folder))
    config.modules_to_save, config.task_type, config.base_model_name_or_path = None, None, None
    config.inference_mode = True
    weights = load_file(folder / "adapter_model.safetensors")
    head = weights.pop(next(key for key in weights if key.endswith(HEAD)))  # (1, hidden)
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
    else:
        model = get_peft_model(model, config, adapter_name=name)
        _switch_off(model)
    if model.peft_config[name].modules_to_save:  # a classifier brings a head of its own, which is filled and not used
        weights[f"base_model.model.{HEAD}"] = head
    loaded = set_peft_model_state_dict(model, weights, adapter_name=name)
    if loaded.unexpected_keys:
        raise StartingPointError(
            f"The reward model {folder.name} was trained on another base: {loaded.unexpected_keys[0]} fits nowhere.",
            "Load it beside the policy, on its own base.",
        )
    for key, parameter in model.named_parameters():
        if f".{name}." in key:
            parameter.requires_grad_(False)
            parameter.data = parameter.data.float()
    for parameter, flag in flags:
        parameter.requires_grad_(flag)
    _restore_random_state(random)
    return RewardModel(model, head.float().to(next(model.parameters()).device), name)


def load(folder: Path, base: Base, *, four_bit: bool) -> RewardModel:
    """The reward model in `folder` on a base of its own, loaded as it was trained: in NF4 or the 16-bit type."""
    dtype = models.working_dtype()
    if ancestry.is_adapter(folder):
        whole = models.load_weights(base.path, dtype, four_bit=four_bit)
        whole.requires_grad_(False)
        return attach(whole, folder, "reward")
    whole = models.load_weights(folder, dtype, scalar_head=True)
    whole.requires_grad_(False)
    return RewardModel(whole, whole.score.weight.detach().float(), None)


def _backbone(model: Any) -> Any:
    """The transformer without a head."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return inner.base_model


def _chunks(lengths: Sequence[int], tokens_at_once: int) -> Iterator[list[int]]:
    """Places of rows that go through together, longest first so that a lack of memory shows at once."""
    places = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    while places:
        count = max(1, tokens_at_once // lengths[places[0]])
        yield places[:count]
        places = places[count:]


def _check_frozen(model: Any) -> None:
    """Only LoRA may be trained on a base that a reward model is to share."""
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        raise StartingPointError(
            "The policy trains a prefix or a prompt, beside which no reward adapter can stand.",
            "Load the reward model beside it, or set how=qlora or how=lora.",
        )
    trained = [
        name
        for name, parameter in _backbone(model).named_parameters()
        if parameter.requires_grad and "lora_" not in name and "modules_to_save" not in name
    ]
    if trained:
        raise StartingPointError(
            f"The policy trains weights of the base itself ({trained[0]}), so a reward model cannot share it.",
            "Load the reward model beside it, or set how=qlora or how=lora.",
        )


def _switch_off(model: Any) -> None:
    """A wrapped base answers as before; the adapter is switched on only to score."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module._disable_adapters = True


def _random_state() -> tuple[torch.Tensor, list[torch.Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _restore_random_state(state: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
