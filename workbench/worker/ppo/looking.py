"""How the policy does outside its rollouts: rewards of its likeliest answers to held-out and watched prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.events import Evaluated, Metrics, Watched, finite
from workbench.worker.context import RunContext
from workbench.worker.ppo.rollout import Asked, Rollout, Writer
from workbench.worker.rewards import Rewards


def reward_metrics(rollout: Rollout, scores: torch.Tensor, apart: dict[str, torch.Tensor]) -> Metrics:
    """What answers are worth and what they look like. With several terms, each by itself too."""
    metrics: Metrics = {"reward": float(scores.mean())}
    if len(apart) > 1:
        metrics.update({f"reward {name}": float(values.mean()) for name, values in apart.items()})
    lengths = [len(answer) for answer in rollout.answers]
    metrics["length"] = sum(lengths) / len(lengths)
    metrics["stopped"] = sum(rollout.ended) / len(rollout.ended)
    return metrics


@dataclass(frozen=True)
class Looker:
    """Measures on held-out prompts, and shows answers to the watched ones."""

    context: RunContext
    writer: Writer
    rewards: Rewards
    held_out: Asked
    watched: Asked

    def evaluate(self, step: int) -> Metrics:
        """The rewards of the likeliest answers to the held-out prompts; nothing where there are none."""
        if not self.held_out.rows:
            return {}
        rollout = self.writer.likeliest(self.held_out)
        metrics = reward_metrics(rollout, *self._scores(rollout))
        self.context.emit(Evaluated(step=step, metrics=finite(metrics)))
        return metrics

    def watch(self, step: int) -> None:
        """Answers to the watched prompts with what they are worth."""
        if not self.watched.rows:
            return
        rollout = self.writer.likeliest(self.watched)
        scores, _ = self._scores(rollout)
        samples = [
            [row["prompt"][-1]["content"], text] for row, text in zip(self.watched.rows, rollout.texts, strict=True)
        ]
        self.context.emit(Watched(step=step, samples=samples, rewards=[float(score) for score in scores]))

    def _scores(self, rollout: Rollout) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.rewards.of(rollout.asked.rows, rollout.conversations, rollout.texts)
