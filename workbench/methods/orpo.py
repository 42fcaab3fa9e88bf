"""Odds-ratio preference optimisation (Hong et al. 2024): SFT and preference in one, without a reference.

Data: pairs with a common prompt. Loss: the chosen answer's mean negative log-likelihood, plus lambda times
-log sigmoid(log odds of chosen - log odds of rejected), with odds p / (1 - p) and p the geometric mean of an answer's
token probabilities. Nothing holds the model to its start, so there is no loss known beforehand.
Departures from TRL: rows come as tokens from `workbench.tokens`. Departure from the paper, kept from TRL and the
authors' code: the likelihood is of the whole row, the prompt's tokens included.
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
    name="orpo",
    label="SFT and preference at once (ORPO)",
    summary="Teaches answers and taste in one run from the base: choose it when you have pairs with good chosen "
    "answers, and no time for SFT first.",
    needs="pairs",
    from_base=True,
    fields=(
        Field(
            "odds_weight",
            0.1,
            "Lambda",
            "How much telling the two answers apart counts beside imitating the chosen one.",
            low=1e-3,
            high=10,
            group="orpo",
        ),
        JUDGES,
    ),
    panels=(
        Panel("Loss", ("loss",)),
        Panel("Log odds", ("log_odds",)),
        Panel("Reward accuracy", ("reward_accuracy",)),
        Panel("Log-probability a token", ("chosen_logp", "rejected_logp")),
    ),
    defaults={"learning_rate": 5e-5},
)


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    from workbench.worker import data, reference_free, training

    settings = context.job.settings

    def build(start: Any, arguments: dict[str, Any], rows: Any, held_out: Any) -> Any:
        from trl.experimental.orpo import ORPOConfig

        return reference_free.OddsTrainer(
            model=reference_free.with_adapter(start, int(settings["seed"])),
            processing_class=start.tokenizer,
            train_dataset=rows,
            eval_dataset=held_out,
            args=ORPOConfig(**arguments, beta=float(settings["odds_weight"]), remove_unused_columns=False),
        )

    return training.run(context, training.Recipe(build, data.dpo_row))
