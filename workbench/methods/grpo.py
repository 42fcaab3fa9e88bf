"""Group-relative policy optimisation (Shao et al. 2024): RLOO's sibling, with advantages in the group's own spread.

Data: prompts. Each answer's advantage is (its reward less the group's mean) / (the group's spread + 1e-4), the same for
all of its tokens; the loss is the clipped ratio times the advantage, plus beta * KL to the run's starting weights (the
k3 estimate). A group whose answers are all worth the same teaches nothing. Before the first step every ratio is 1 and
the KL is 0, which is checked.
Departures from TRL: those of `workbench.methods.rloo`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.fields import Field
from workbench.methods import Method, group

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

METHOD = Method(
    name="grpo",
    label="Reinforcement by groups (GRPO)",
    summary="Raises a reward by trying: choose it for answers that are right or wrong, such as sums, where a rule "
    "judges.",
    needs="prompts",
    fields=(
        *group.fields(
            "grpo",
            0.04,
            "How strongly the start pulls each token back. 0 needs no reference, and is usual where a rule judges.",
        ),
        Field(
            "loss_type",
            "dapo",
            "Loss",
            "dapo: every token counts the same (Yu et al. 2025). grpo: every answer counts the same, as first "
            "published, which favours short right and long wrong answers. dr_grpo: divides by the longest answer "
            "instead (Liu et al. 2025).",
            choices=("dapo", "grpo", "dr_grpo"),
            group="grpo",
            advanced=True,
        ),
        Field(
            "scale",
            "group",
            "Spread",
            "What advantages are divided by: the group's spread, that of the whole step (steadier), or nothing, which "
            "weighs hard and easy prompts alike.",
            choices=("group", "batch", "none"),
            group="grpo",
            advanced=True,
        ),
    ),
    panels=group.PANELS,
    defaults=group.DEFAULTS,
)


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    settings = context.job.settings

    def make(arguments: dict[str, Any], **parts: Any) -> Any:
        from trl import GRPOConfig

        from workbench.worker.groups import GroupTrainer

        config = GRPOConfig(**arguments, loss_type=str(settings["loss_type"]), scale_rewards=str(settings["scale"]))
        return GroupTrainer(args=config, **parts)

    return group.train(context, make)
