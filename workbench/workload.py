"""What a training run has before it: the rows that it learns from, those held out, and its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench import rewards
from workbench.errors import SettingError
from workbench.rows import Counts

if TYPE_CHECKING:
    from workbench.methods import Method


@dataclass(frozen=True)
class Workload:
    """Before the base has been asked which rows are too long, so that rows and steps are nearly right."""

    rows: int
    held_out: int
    steps: int
    batch: int
    """Rows of a step, or answers where the run writes its own."""
    writes: bool
    """Whether the run writes the answers that it learns from."""


def of(method: Method, settings: Mapping[str, Any], counts: Counts) -> Workload:
    """Of a method's run with all its settings, in a project that has so many rows."""
    count = counts.answered if _needs_answers(settings) else counts.rows[method.needs]
    held_out = round(count * float(settings["held_out"]))
    batch = int(settings["micro_batch"]) * int(settings["accumulation"]) * int(settings.get("mini_batches", 1))
    epochs = float(settings["epochs"]) * int(settings.get("iterations", 1))
    if "mini_batches" in settings:  # prompts come round without a break between epochs
        steps = math.ceil(epochs * (count - held_out) / batch)
    else:
        rows_a_step = max(1, batch // int(settings.get("group", 1)))  # of a prompt several answers go through
        steps = math.ceil(epochs * math.ceil((count - held_out) / rows_a_step))
    most = int(settings["max_steps"]) or steps
    writes = "group" in settings or "mini_batches" in settings
    return Workload(count - held_out, held_out, max(1, min(steps, most)), batch, writes)


def _needs_answers(settings: Mapping[str, Any]) -> bool:
    """Whether the reward says nothing of prompts without a known answer; False for one that cannot be read."""
    try:
        return any(term.needs_answer for term in rewards.parse(str(settings.get("reward", ""))))
    except SettingError:
        return False
