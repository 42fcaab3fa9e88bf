"""REINFORCE leave-one-out (Ahmadian et al. 2024): writes several answers to a prompt and learns from the better ones.

Data: prompts. Each answer's advantage is its reward less the mean reward of the others to the same prompt, with the
reward r(x, y) - beta * (log pi(y|x) - log pi_ref(y|x)); the loss is -ratio * advantage of whole answers, clipped as in
PPO when a rollout serves more than one step. No value model: the group is the baseline. The reference is the run's
starting weights, so before the first step every ratio is 1 and the KL is 0, which is checked.
Departures from TRL: answers are written and seeded by `workbench.worker.groups`; dropout is off; the prompts' order
depends on seed and epoch alone; held-out prompts are answered greedily, once each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.methods import Method, group

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

METHOD = Method(
    name="rloo",
    label="Reinforcement by groups (RLOO)",
    summary="Raises a reward by trying: choose it when answers can be scored, by a rule or a reward model, and memory "
    "or patience for PPO is short.",
    needs="prompts",
    fields=group.fields(
        "rloo",
        0.05,
        "What moving away from the start costs: so much reward for each nat of a whole answer's likelihood. Raise it "
        "when the KL runs away.",
    ),
    panels=group.PANELS,
    defaults=group.DEFAULTS,
)


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""

    def make(arguments: dict[str, Any], **parts: Any) -> Any:
        from trl import RLOOConfig

        from workbench.worker.groups import LeaveOneOutTrainer

        return LeaveOneOutTrainer(args=RLOOConfig(**arguments), **parts)

    return group.train(context, make)
