"""Simple preference optimisation (Meng et al. 2024): DPO's aim per token and without a reference.

Data: pairs with a common prompt. Loss: -log sigmoid(beta * (mean log pi of chosen - mean log pi of rejected) - margin),
the means over an answer's tokens. Nothing holds the model to its start, so there is no loss known beforehand; a small
rate does, or `anchor`, which adds the chosen answers' own loss (CPO-SimPO).
Departures from TRL: rows come as tokens from `workbench.tokens`; the margin is as in the paper (TRL's gamma).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.fields import Field
from workbench.methods import Method, Panel
from workbench.methods.shared import JUDGES

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

METHOD = Method(
    name="simpo",
    label="Preference without a reference (SimPO)",
    summary="Teaches taste from rankings with less memory than DPO: choose it when the reference does not fit, and "
    "watch the samples, because nothing holds the model to its start.",
    needs="pairs",
    fields=(
        Field(
            "beta",
            2.0,
            "Beta",
            "How much a difference between two answers counts. The paper uses 2 to 2.5, ten times DPO's and more.",
            low=1e-3,
            high=100,
            group="simpo",
        ),
        Field(
            "margin",
            1.0,
            "Margin",
            "By how much the chosen answer must be ahead before a pair counts as won. The paper uses half of beta.",
            low=0.0,
            high=100,
            group="simpo",
        ),
        Field(
            "anchor",
            0.0,
            "Anchor on the chosen",
            "Adds so much of the chosen answers' own SFT loss, so that they stay likely. 0: SimPO as published.",
            low=0.0,
            high=10.0,
            group="simpo",
            advanced=True,
        ),
        JUDGES,
    ),
    panels=(
        Panel("Loss", ("loss",)),
        Panel("Reward margin", ("reward_margin",)),
        Panel("Reward accuracy", ("reward_accuracy",)),
        Panel("Log-probability a token", ("chosen_logp", "rejected_logp")),
    ),
    defaults={"learning_rate": 1e-5},
)


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    from workbench.worker import data, reference_free, training

    settings = context.job.settings

    def build(start: Any, arguments: dict[str, Any], rows: Any, held_out: Any) -> Any:
        from trl.experimental.cpo import CPOConfig

        return reference_free.MarginTrainer(
            model=reference_free.with_adapter(start, int(settings["seed"])),
            processing_class=start.tokenizer,
            train_dataset=rows,
            eval_dataset=held_out,
            args=CPOConfig(
                **arguments,
                loss_type="simpo",
                beta=float(settings["beta"]),
                simpo_gamma=float(settings["margin"]),
                cpo_alpha=float(settings["anchor"]),
                remove_unused_columns=False,
            ),
        )

    return training.run(context, training.Recipe(build, data.dpo_row))
