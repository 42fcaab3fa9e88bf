"""What a rollout is worth: its scores, the price of its distance from the start, and the advantages that follow.

N answers, R tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from workbench.worker.ppo import advantages, passes, roles
from workbench.worker.ppo.passes import Plan, Scored
from workbench.worker.ppo.rollout import Rollout
from workbench.worker.ppo.state import State
from workbench.worker.rewards import Rewards


@dataclass(frozen=True)
class Worth:
    """A rollout judged."""

    raw: torch.Tensor
    """The reward's own scores, (N,)."""
    apart: dict[str, torch.Tensor]
    """Each term's scores, (N,)."""
    scored: Scored
    kl: torch.Tensor
    """Of each token, in nats, (N, R)."""
    rewards: torch.Tensor
    """What is learnt from: of each token, (N, R)."""
    advantages: torch.Tensor
    returns: torch.Tensor

    @property
    def mean_kl(self) -> float:
        """Nats an answer."""
        return float((self.kl * self.scored.mask).sum(1).mean())


def judge(state: State, rewards: Rewards, settings: Mapping[str, Any], rolled: Rollout, micro_batches: Plan) -> Worth:
    """Scores a rollout, and takes its scores into the running mean and spread."""
    raw, apart = rewards.of(rolled.asked.rows, rolled.conversations, rolled.texts)
    state.progress.scores.add(raw)
    scores = _learnt_from(state, settings, raw, rolled)
    if state.progress.step == 0:
        _begin_value(state, rewards, settings, scores)
    scored = passes.score(state.roles, rolled, micro_batches, float(settings["temperature"]))
    kl = advantages.kl_estimate(scored.logps, scored.reference, str(settings["kl_estimator"]))
    earned = advantages.token_rewards(scores.to(kl.device), kl, scored.mask, state.progress.beta)
    gained, returns = advantages.gae(
        earned, scored.values, scored.mask, float(settings["gamma"]), float(settings["lam"])
    )
    return Worth(raw, apart, scored, kl, earned, gained, returns)


def _learnt_from(state: State, settings: Mapping[str, Any], raw: torch.Tensor, rolled: Rollout) -> torch.Tensor:
    """Scores in standard deviations if wished, less a penalty for answers that did not end; (N,)."""
    scores = state.progress.scores.normalised(raw) if settings["scale_rewards"] else raw
    return scores - float(settings["end_penalty"]) * ~torch.tensor(rolled.ended)


def _begin_value(state: State, rewards: Rewards, settings: Mapping[str, Any], scores: torch.Tensor) -> None:
    """Before the first step: a reward model's head gets the scale of the scores, and one of zeros foresees their mean,
    which it would otherwise approach by no more than the value's clip a step."""
    head, seen = state.roles.head, state.progress.scores
    if not bool(head.weight.any()):
        finite = scores[scores.isfinite()]
        roles.begin_at(head, float(finite.mean()) if len(finite) else 0.0)
        return
    weight = next(t.weight for t in rewards.terms if t.kind == "run" and t.name in rewards.attached)
    if settings["scale_rewards"]:
        roles.scale_head(head, weight, seen.mean, seen.deviation)
    else:
        roles.scale_head(head, weight, 0.0, 1.0)
