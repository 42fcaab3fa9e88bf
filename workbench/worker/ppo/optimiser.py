"""The optimiser of both networks, and its rate: a pure function of how far the run is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from workbench.worker import bits
from workbench.worker.ppo.roles import Roles

BETAS = (0.9, 0.999)
EPSILON = 1e-5
"""As in the first RLHF code and not PyTorch's 1e-8: it damps the first steps (Huang et al. 2024, detail "Adam")."""


def make(roles: Roles, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """AdamW over the policy's weights (first group) and the value's (second group)."""
    kind = str(settings["optimizer"])
    if kind == "auto":
        kind = "paged_adamw_8bit" if torch.cuda.is_available() else "adamw_torch"
    groups = [
        {"params": list(roles.policy.values())},
        {"params": list(roles.value.values())},
    ]
    how: dict[str, Any] = {
        "lr": float(settings["learning_rate"]),
        "betas": BETAS,
        "eps": EPSILON,
        "weight_decay": float(settings["weight_decay"]),
    }
    if kind == "adamw_torch":
        return torch.optim.AdamW(groups, fused=True, **how)  # the same arithmetic in one pass over all weights
    paged = {"adamw_8bit": bits.AdamW8bit, "paged_adamw_8bit": bits.PagedAdamW8bit}
    return paged.get(kind, bits.PagedAdamW32bit)(groups, **how)


def rate(update: int, total: int, settings: Mapping[str, Any]) -> float:
    """The learning rate of an update (from 0): it rises over the warm-up and falls to `final_rate` of its height."""
    peak, floor = float(settings["learning_rate"]), float(settings["final_rate"])
    warm = math.ceil(float(settings["warmup"]) * total)
    schedule = str(settings["schedule"])
    if schedule != "constant" and update < warm:
        return peak * (update + 1) / warm
    if schedule.startswith("constant"):
        return peak
    gone = (update - warm) / max(1, total - warm)  # 0 to 1
    left = 0.5 * (1 + math.cos(math.pi * gone)) if schedule == "cosine" else 1 - gone
    return peak * (floor + (1 - floor) * left)


def set_rate(optimizer: torch.optim.Optimizer, value: float, factor: float) -> None:
    """Sets the policy's rate, and the value's, which is `factor` times that."""
    for group, times in zip(optimizer.param_groups, (1.0, factor), strict=True):
        group["lr"] = value * times


def clip(groups: Iterable[Mapping[str, Any]], longest: float) -> list[float]:
    """Shortens each group's gradient to `longest` (0: never); the lengths before. Each by itself: the value's first
    gradients are long, and must not shorten the policy's."""
    lengths = []
    for group in groups:
        norm = nn.utils.clip_grad_norm_(group["params"], longest or math.inf)
        lengths.append(float(norm))
    return lengths
