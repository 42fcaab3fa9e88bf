"""The loss of weighted choices: what all of a reward model's losses come down to (see `methods/reward.py`)."""

from __future__ import annotations

import torch


def choice_losses(
    rewards: torch.Tensor, members: torch.Tensor, present: torch.Tensor, margin: float = 0.0
) -> torch.Tensor:
    """-log of the probability of each choice, (C,).

    `rewards` are (N,); `members` (C, M) are places in them, the chosen one first, and `present` (C, M) says which are
    real. The margin is taken off the chosen one's reward. Written as log(1 + sum exp(r_j - r_b + m)), which for two
    answers is -log sigmoid(r_b - r_j - m), and no exponent overflows.
    """
    scores = rewards[members]  # (C, M)
    leads = scores[:, 1:] - scores[:, :1] + margin  # (C, M - 1)
    leads = leads.masked_fill(~present[:, 1:], -torch.inf)
    return torch.logsumexp(torch.nn.functional.pad(leads, (1, 0)), dim=1)


def ranking_loss(
    rewards: torch.Tensor, members: torch.Tensor, present: torch.Tensor, weights: torch.Tensor, rows: int, margin: float
) -> torch.Tensor:
    """The mean over a batch's rows of their weighted choices; `weights` (C,) add up a row's choices to its loss."""
    return (choice_losses(rewards, members, present, margin) * weights).sum() / rows


def centring_loss(rewards: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """The mean over rows of (2 * the row's mean reward)^2; `sizes` (B,) are its answers, one row after the other.

    For two answers it is (r_w + r_l)^2 (Eisenstein et al. 2023, eq. 2).
    """
    means = torch.stack([row.mean() for row in rewards.split(sizes.tolist())])  # (B,)
    return (2 * means).square().mean()
