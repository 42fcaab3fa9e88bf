"""From scores to advantages: the arithmetic of PPO between a rollout and its update. Pure; no model in sight.

N is the number of answers, R the tokens of the longest; `mask` (N, R) is true on an answer's tokens, its end included.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

WHITEN_EPSILON = 1e-8
SCORE_LIMIT = 10.0
"""Normalised scores beyond so many standard deviations are cut: one freak must not make the batch's advantages."""


def kl_estimate(logps: torch.Tensor, reference: torch.Tensor, estimator: str) -> torch.Tensor:
    """KL(policy || reference) of each token from the sampled one (Schulman 2020, "Approximating KL divergence").

    k1 = log p - log q: no bias, much spread, may be negative. k3 = q/p - 1 - log(q/p): no bias either, never negative.
    """
    ratio = reference - logps  # log(q / p), (N, R)
    return -ratio if estimator == "k1" else torch.expm1(ratio) - ratio


def token_rewards(scores: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor, beta: float) -> torch.Tensor:
    """-beta * kl on every token, and the answer's score (N,) on its last one (Ziegler et al. 2019, eq. 2)."""
    rewards = -beta * kl * mask  # (N, R)
    last = mask.sum(1) - 1  # (N,)
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns, (N, R) each (Schulman et al. 2016, eq. 16).

    delta_t = r_t + gamma * V_{t+1} - V_t and A_t = delta_t + gamma * lam * A_{t+1}; behind the last token both are 0,
    also for an answer that was cut off: the score was given for what there is. The return is A_t + V_t.
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])  # A_{t+1}, (N,)
    next_value = torch.zeros_like(following)
    for t in reversed(range(rewards.shape[1])):
        valid = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = torch.where(valid, delta + gamma * lam * following, 0.0)
        next_value = torch.where(valid, values[:, t], 0.0)
        advantages[:, t] = following
    return advantages, torch.where(mask, advantages + values, 0.0)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the valid tokens."""
    return (values * mask).sum() / mask.sum()


def masked_variance(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The unbiased variance over the valid tokens; 0 of a single one."""
    spread = (values - masked_mean(values, mask)).square() * mask
    return spread.sum() / (mask.sum() - 1).clamp(min=1)


def whiten(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean 0 and variance 1 over the valid tokens, 0 elsewhere."""
    shifted = values - masked_mean(values, mask)
    return shifted * torch.rsqrt(masked_variance(values, mask) + WHITEN_EPSILON) * mask


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> float:
    """1 - var(returns - values) / var(returns): 1 foresees all, 0 no more than a constant does."""
    spread = masked_variance(returns, mask)
    if float(spread) == 0:
        return float("nan")
    return float(1 - masked_variance(returns - values, mask) / spread)


@dataclass
class Moments:
    """Mean and spread of all scores so far (Chan et al. 1979), in doubles, so that a resume goes on with the same."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """The sum of squared distances from the mean."""

    def add(self, scores: torch.Tensor) -> None:
        """Takes in more scores. One that is no finite number spoils its own step; in here it would spoil all others."""
        fresh = scores.double()[scores.isfinite()]
        if not len(fresh):
            return
        count, mean = len(fresh), float(fresh.mean())
        both = self.count + count
        distance = mean - self.mean
        self.squares += float((fresh - mean).square().sum()) + distance**2 * self.count * count / both
        self.mean += distance * count / both
        self.count = both

    @property
    def deviation(self) -> float:
        """The standard deviation; 1 while all scores are equal, so that dividing by it changes nothing."""
        deviation = (self.squares / max(1, self.count - 1)) ** 0.5
        return deviation if deviation > WHITEN_EPSILON else 1.0

    def normalised(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores in standard deviations from the mean."""
        return ((scores - self.mean) / self.deviation).clamp(-SCORE_LIMIT, SCORE_LIMIT)


def next_beta(beta: float, kl: float, target: float, episodes: int, horizon: int) -> float:
    """Beta after answers of mean KL `kl`: a proportional controller in log space (Ziegler et al. 2019, section 2.2)."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return beta * (1 + error * episodes / horizon)
