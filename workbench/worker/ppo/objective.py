"""The clipped losses of a PPO update, as sums: whoever adds up micro-batches divides by the mini-batch's tokens.

M is the number of valid tokens in a micro-batch; padding never gets here.
"""

from __future__ import annotations

import torch


def policy_loss(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of -min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A) (Schulman et al. 2017, eq. 7), and how many
    tokens were clipped: those whose clipped term is the smaller one. All (M,)."""
    ratio = torch.exp(logps - old_logps)
    free = ratio * advantages
    held = ratio.clamp(1 - clip, 1 + clip) * advantages
    return -torch.minimum(free, held).sum(), (held < free).sum()


def value_loss(values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """The sum of half the larger squared error of the value and of the value kept within `clip` of the old one.

    All (M,). (Huang et al. 2024, detail "value function loss clipping", after Schulman's baselines.)
    """
    near = torch.clamp(values, old_values - clip, old_values + clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square()).sum()
