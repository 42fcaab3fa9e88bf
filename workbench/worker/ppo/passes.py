"""The passes over a rollout: one that scores it with every role, and those that learn from it, all in micro-batches.

N answers, R tokens of the longest; rows of a micro-batch are given by their places in the rollout.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from workbench.errors import StartingPointError
from workbench.worker.arguments import Batch
from workbench.worker.ppo import objective, optimiser
from workbench.worker.ppo.logprobs import Sequences, sequences
from workbench.worker.ppo.roles import Roles
from workbench.worker.ppo.rollout import Rollout
from workbench.worker.ppo.state import State

Plan = list[list[list[int]]]
"""Mini-batches of micro-batches of places in a rollout."""

AGREE = 1e-4
"""How far two passes over the same tokens with the same weights may differ, in nats."""


@dataclass
class Scored:
    """What every role says of a rollout's tokens, (N, R) each, 0 on padding."""

    mask: torch.Tensor
    logps: torch.Tensor
    reference: torch.Tensor
    entropy: torch.Tensor
    values: torch.Tensor


@dataclass
class Learnt:
    """What a step's passes came to: means over its mini-batches, and how many could not be used."""

    policy_loss: float
    value_loss: float
    clip_fraction: float
    policy_norm: float
    value_norm: float
    broken: int


def plan(count: int, lengths: Sequence[int], batch: Batch, generator: np.random.Generator) -> Plan:
    """A random order of the rollout as mini-batches; within one, rows of like length share a micro-batch."""
    order = generator.permutation(count).tolist()
    size = batch.micro * batch.accumulation
    minis = [sorted(order[start : start + size], key=lambda place: -lengths[place]) for start in range(0, count, size)]
    return [[mini[start : start + batch.micro] for start in range(0, len(mini), batch.micro)] for mini in minis]


def generator_of_pass(seed: int, step: int, number: int) -> np.random.Generator:
    """What shuffles a pass. The seed's own answers never use three numbers that end so."""
    return np.random.default_rng([seed, step, number, 1])


def _rows(roles: Roles, rollout: Rollout, places: Sequence[int]) -> Sequences:
    return sequences(
        [rollout.asked.ids[place] for place in places],
        [rollout.answers[place] for place in places],
        rollout.longest,
        roles.device,
    )


@torch.no_grad()
def score(roles: Roles, rollout: Rollout, micro_batches: Plan, temperature: float) -> Scored:
    """Policy, reference and value of every token. In the micro-batches of the first pass that learns, so that its
    log-probabilities come out the same to the last bit, in 16 bits too."""
    shape = (len(rollout.answers), rollout.longest)
    found = Scored(
        torch.zeros(shape, dtype=torch.bool, device=roles.device),
        *(torch.zeros(shape, device=roles.device) for _ in range(4)),
    )
    for places in (micro for mini in micro_batches for micro in mini):
        rows = _rows(roles, rollout, places)
        hidden = roles.hidden(rows)  # (M, H)
        logps, entropy = roles.logps_and_entropy(hidden, rows, temperature)
        if roles.critic:
            with roles.as_critic():
                values = roles.values(roles.hidden(rows))
        else:
            values = roles.values(hidden)
        with roles.reference():
            reference = roles.logps_and_entropy(roles.hidden(rows), rows, temperature)[0]
        found.mask[places] = rows.valid
        for whole, part in (
            (found.logps, logps),
            (found.entropy, entropy),
            (found.values, values),
            (found.reference, reference),
        ):
            whole[places] = rows.spread(part)
    return found


class Learner:
    """Learns from scored rollouts, with the settings of the run."""

    def __init__(self, state: State, settings: Mapping[str, Any], batch: Batch, updates: int) -> None:
        self.state = state
        self.settings = settings
        self.batch = batch
        self.updates = updates
        """Optimiser steps of the whole run, for the rate."""
        self.temperature = float(settings["temperature"])
        self.clip = float(settings["ratio_clip"])
        self.value_clip = float(settings["value_clip"])
        self.value_weight = float(settings["value_weight"])

    def plans(self, rollout: Rollout, seed: int, step: int) -> list[Plan]:
        """The mini-batches of every pass over a step's rollout."""
        lengths = [len(ids) for ids in rollout.conversations]
        return [
            plan(len(lengths), lengths, self.batch, generator_of_pass(seed, step, number))
            for number in range(int(self.settings["passes"]))
        ]

    def learn(
        self,
        rollout: Rollout,
        scored: Scored,
        advantages: torch.Tensor,
        returns: torch.Tensor,
        plans: Sequence[Plan],
    ) -> Learnt:
        """All passes over a rollout; the first mini-batch must find the policy as it was when it wrote."""
        with training_mode(self.state.roles.model, bool(self.settings["gradient_checkpointing"])):
            return self._learn(rollout, scored, advantages, returns, plans)

    def _learn(
        self,
        rollout: Rollout,
        scored: Scored,
        advantages: torch.Tensor,
        returns: torch.Tensor,
        plans: Sequence[Plan],
    ) -> Learnt:
        sums = np.zeros(5)
        used = broken = 0
        for number, mini in enumerate(mini for pass_plan in plans for mini in pass_plan):
            figures, furthest = self._gradients(rollout, scored, advantages, returns, mini)
            if number == 0:
                check_ratio(furthest)
            norms = self._step()
            if all(map(math.isfinite, (*figures, *norms))):
                sums += [*figures, *norms]
                used += 1
            else:
                broken += 1
        means = (sums / used).tolist() if used else [math.nan] * 5
        return Learnt(means[0], means[1], means[2], means[3], means[4], broken)

    def _gradients(
        self, rollout: Rollout, scored: Scored, advantages: torch.Tensor, returns: torch.Tensor, mini: list[list[int]]
    ) -> tuple[tuple[float, float, float], float]:
        """Gradients of a mini-batch's mean losses; (policy loss, value loss, clipped share), and the furthest any
        log-probability is from the rollout's."""
        roles = self.state.roles
        tokens = sum(len(rollout.answers[place]) for micro in mini for place in micro)
        policy_sum = value_sum = clipped = furthest = 0.0
        for places in mini:
            rows = _rows(roles, rollout, places)
            old, kept = scored.logps[places][rows.valid], scored.values[places][rows.valid]  # (M,)
            hidden = roles.hidden(rows)  # (M, H)
            logps = roles.logps(hidden, rows, self.temperature)
            loss, over = objective.policy_loss(logps, old, advantages[places][rows.valid], self.clip)
            total = loss
            if not roles.critic:
                value = self._value_loss(roles.values(hidden), kept, returns[places][rows.valid])
                total = total + self.value_weight * value
            self._backward(total / tokens)
            if roles.critic:
                with roles.as_critic():  # until after the backward pass, which may compute activations again
                    value = self._value_loss(roles.values(roles.hidden(rows)), kept, returns[places][rows.valid])
                    self._backward(self.value_weight * value / tokens)
            policy_sum += float(loss.detach())
            value_sum += float(value.detach())
            clipped += float(over)
            furthest = max(furthest, float((logps.detach() - old).abs().max()))
        return (policy_sum / tokens, value_sum / tokens, clipped / tokens), furthest

    def _value_loss(self, values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
        return objective.value_loss(values, old, returns, self.value_clip)

    def _backward(self, loss: torch.Tensor) -> None:
        self.state.scaler.scale(loss).backward()

    def _step(self) -> list[float]:
        """One optimiser step, left out where a gradient is no number; the gradients' lengths."""
        state = self.state
        rate = optimiser.rate(state.progress.updates, self.updates, self.settings)
        optimiser.set_rate(state.optimizer, rate, float(self.settings["value_rate"]))
        state.scaler.unscale_(state.optimizer)
        norms = optimiser.clip(state.optimizer.param_groups, float(self.settings["clip"]))
        if all(map(math.isfinite, norms)):
            state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.progress.updates += 1
        return norms


@contextlib.contextmanager
def training_mode(model: Any, wanted: bool) -> Iterator[None]:
    """Training mode while learning, where activations are to be computed twice: transformers asks for it."""
    model.train(wanted)
    try:
        yield
    finally:
        model.eval()


def check_ratio(furthest: float) -> None:
    """A StartingPointError where the first mini-batch does not find the policy that wrote the answers."""
    if not furthest <= AGREE:
        raise StartingPointError(
            f"The first pass over the answers is {furthest:.2g} nats from their rollout: the ratio is not 1.",
            "Please report it with the base's name; how=lora instead of qlora, or another base, may work.",
        )


def check_decoding(rollout: Rollout, scored: Scored, tolerance: float) -> float:
    """The mean distance of the log-probabilities that were sampled with (cache, left padding) from those of the whole
    conversations; a StartingPointError where they are not the same policy's."""
    sampled = torch.zeros_like(scored.logps)
    for row, logps in enumerate(rollout.logps):
        sampled[row, : len(logps)] = torch.tensor(logps)
    distance = float((sampled - scored.logps).abs()[scored.mask].mean())
    if not distance <= tolerance:
        raise StartingPointError(
            f"The answers were sampled from another distribution than is trained: {distance:.2g} nats a token apart.",
            "This base does something to its logits that PPO does not know; train it with DPO instead.",
        )
    return distance


def check_reference(scored: Scored) -> None:
    """A StartingPointError where the reference is not the run's starting model: before a first step the KL is 0."""
    furthest = float((scored.logps - scored.reference).abs().max())
    if not furthest <= AGREE:
        raise StartingPointError(
            f"The reference is not this run's starting model: {furthest:.2g} nats apart before the first step.",
            "The parent's files may have changed since the run was ordered. Order it again; if that does not help, "
            "start from the base.",
        )
