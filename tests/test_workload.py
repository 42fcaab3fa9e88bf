"""How many rows and steps a run has before it, as the form tells it."""

from __future__ import annotations

from typing import Any

from workbench import methods, presets, workload
from workbench.rows import Counts
from workbench.workload import Workload

COUNTS = Counts(
    {"demonstrations": 200, "pairs": 100, "rankings": 50, "thumbs": 30, "prompts": 400},
    answered=100,
)


def of(method: str, **changes: Any) -> Workload:
    settings = presets.get("cpu").settings(method, {"held_out": 0.1, **changes})
    return workload.of(methods.get(method), settings, COUNTS)


def test_rows_that_are_left_fill_steps() -> None:
    """180 rows of 200 in batches of 8 are 23 steps an epoch."""
    assert of("sft", epochs=2, micro_batch=4, accumulation=2) == Workload(180, 20, 46, 8, writes=False)


def test_the_limit_of_steps_counts() -> None:
    """`max_steps` ends a longer run and lengthens no shorter one."""
    assert of("sft", epochs=2, micro_batch=8, max_steps=10).steps == 10
    assert of("sft", epochs=2, micro_batch=8, max_steps=1000).steps == 46


def test_several_answers_to_a_prompt_share_a_step() -> None:
    """Of 32 answers a step in groups of 8, four prompts are used up: 90 prompts are 23 steps."""
    assert of("rloo", micro_batch=32, group=8, epochs=1) == Workload(90, 10, 23, 32, writes=True)


def test_prompts_come_round_without_a_break() -> None:
    """PPO's rollouts of 32 answers take 360 prompts twice in 23 steps, and not in twice 12."""
    assert of("ppo", reward="rule:brevity", micro_batch=8, mini_batches=4, epochs=2).steps == 23


def test_a_reward_that_compares_counts_prompts_with_answers_only() -> None:
    """Of 400 prompts 100 have a known answer; a reward that needs none takes all, and one that cannot be read too."""
    assert of("ppo", reward="rule:exact").rows == 90
    assert of("ppo", reward="rule:brevity + 0.5*rule:exact").rows == 90
    assert of("ppo", reward="rule:brevity").rows == 360
    assert of("ppo", reward="?").rows == 360
