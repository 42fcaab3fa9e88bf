"""PPO's four roles on one base in memory: each is an adapter, a small head, or the base with an adapter put aside.

Policy: what is trained. Reference: the same weights as they were when the run began. Reward: see `worker.rewards`.
Value: an adapter with a head of one number, or only such a head, which reads the policy's own hidden states.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import nn

from workbench.worker import active_adapter, model
from workbench.worker.ppo.logprobs import Sequences, Vocabulary
from workbench.worker.reward_model import RewardModel

POLICY = "default"
CRITIC = "value"


@dataclass
class Roles:
    """The model with its roles. `critic` is the value's adapter; "" where its head sits on the policy's states."""

    model: Any
    vocabulary: Vocabulary
    policy: dict[str, nn.Parameter]
    """The policy's trained weights by name."""
    starting: dict[str, torch.Tensor]
    """Their values when the run began; empty where the reference is the base with no adapter."""
    head: nn.Linear  # (hidden -> 1), fp32
    critic: str = ""

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def inner(self) -> Any:
        """The causal language model, without PEFT's wrapper, which hides what its forward takes."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def value(self) -> dict[str, nn.Parameter]:
        """The value's trained weights by name."""
        mark = f".{self.critic}."
        own = {n: p for n, p in self.model.named_parameters() if mark in n} if self.critic else {}
        return {**own, "head.weight": self.head.weight, "head.bias": self.head.bias}

    def hidden(self, rows: Sequences) -> torch.Tensor:
        """Hidden states that predict the answers' tokens, (M, H), of whichever role is active."""
        kind = self.device.type
        with torch.autocast(kind, model.working_dtype(), enabled=kind != "cpu"):
            out = self.inner.base_model(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)
        return out.last_hidden_state[rows.before]

    def logps(self, hidden: torch.Tensor, rows: Sequences, temperature: float) -> torch.Tensor:
        """Log-probabilities of the answers' tokens, (M,), of hidden states (M, H)."""
        with torch.autocast(self.device.type, model.working_dtype(), enabled=self.device.type != "cpu"):
            return self.vocabulary.logps(hidden, rows.targets, temperature)

    def logps_and_entropy(
        self, hidden: torch.Tensor, rows: Sequences, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same without a gradient, with the entropy of each token's distribution."""
        with torch.autocast(self.device.type, model.working_dtype(), enabled=self.device.type != "cpu"):
            return self.vocabulary.logps_and_entropy(hidden, rows.targets, temperature)

    def values(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the answers' rest is expected to bring, (M,), of hidden states (M, H). Only the value's own weights
        learn from it: through the policy's it would move the answers for no reward."""
        with torch.autocast(self.device.type, enabled=False):
            return self.head((hidden if self.critic else hidden.detach()).float()).squeeze(-1)

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        """The run's starting weights in the policy's place."""
        if not self.starting:
            with active_adapter.only(self.model, None):
                yield
            return
        trained = {name: parameter.data for name, parameter in self.policy.items()}
        try:
            for name, parameter in self.policy.items():
                parameter.data = self.starting[name]
            yield
        finally:
            for name, parameter in self.policy.items():
                parameter.data = trained[name]

    def as_critic(self) -> contextlib.AbstractContextManager[None]:
        """The value's adapter in the policy's place."""
        return active_adapter.only(self.model, self.critic)


def assemble(start: model.Start) -> Roles:
    """Policy and reference on the run's starting model, with a value head of zeros on the policy's hidden states."""
    tuned = start.model
    if start.peft_config is not None:
        tuned = get_peft_model(tuned, start.peft_config)
    model.restore_precision(tuned, start)
    silence_dropout(tuned)
    policy = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
    fresh_adapter = start.peft_config is not None
    starting = {} if fresh_adapter else {name: p.detach().clone() for name, p in policy.items()}
    inner = tuned.get_base_model() if isinstance(tuned, PeftModel) else tuned
    head = nn.Linear(inner.config.get_text_config().hidden_size, 1, device=inner.device, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return Roles(tuned, Vocabulary.of(inner), policy, starting, head)


def add_critic(roles: Roles, reward: RewardModel | None) -> None:
    """Gives the value an adapter of its own: a copy of the reward model's where that is on the same base, with its
    head; else a fresh one of the policy's shape, which starts as the base."""
    source = reward.adapter if reward is not None and reward.adapter is not None else POLICY
    roles.model.add_adapter(CRITIC, roles.model.peft_config[source])
    weights = dict(roles.model.named_parameters())
    with torch.no_grad():
        for name, parameter in weights.items():
            if f".{CRITIC}." not in name:
                continue
            parameter.data = parameter.data.float()
            if source != POLICY:
                parameter.copy_(weights[name.replace(f".{CRITIC}.", f".{source}.")])
        if reward is not None and source != POLICY:
            roles.head.weight.copy_(reward.head)
    for name, parameter in weights.items():
        parameter.requires_grad_(name in roles.policy or f".{CRITIC}." in name)
    silence_dropout(roles.model)
    roles.critic = CRITIC


def begin_at(head: nn.Linear, mean: float) -> None:
    """Lets a head of zeros foresee the same of every token."""
    with torch.no_grad():
        head.bias.fill_(mean)


def scale_head(head: nn.Linear, weight: float, mean: float, deviation: float) -> None:
    """Puts a reward model's head on the scale of the rewards: `weight` times its score, normalised."""
    with torch.no_grad():
        head.weight.mul_(weight / deviation)
        head.bias.fill_(-mean / deviation)


def silence_dropout(tuned: Any) -> None:
    """No dropout anywhere: a ratio of two passes must be 1 before anything was learnt (Huang et al. 2024)."""
    for module in tuned.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "dropout_p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
