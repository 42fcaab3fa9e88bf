"""Direct preference optimisation (Rafailov et al. 2023): learns from pairs of a better and a worse answer.

Data: pairs with a common prompt. Loss, for the sigmoid: -log sigmoid(beta * ((log pi/ref of chosen) - (log pi/ref of
rejected))). The reference is the run's starting weights: the adapter switched off when the run starts from the base,
a frozen copy of the starting adapter otherwise, log-probabilities worked out beforehand where whole weights are
tuned. So the first loss is known (ln 2), and a run whose first loss differs ends before it has trained on nonsense.
Departures from TRL: rows come as tokens from `workbench.tokens`.

Of TRL 1.16's losses these are left out: aot and aot_unpaired (they sort within the micro-batch, whose size follows the
memory: of one row they are the sigmoid); bco_pair (without the reward shift that makes it BCO; KTO does the same better
founded); exo_pair (its target is log 0 for a plain ranking, so what is put in its place decides more than the
ranking); discopop (found by search on one model, and bends the wrong way round 0, where every pair starts). TRL no
longer smooths the sigmoid's labels (cDPO): `robust` is the unbiased form of the same idea (Chowdhury et al. 2024).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from workbench.errors import SettingError, StartingPointError
from workbench.fields import Field, Value
from workbench.methods import Method, Panel
from workbench.methods.reference import beta_field, precompute_field, precomputes
from workbench.methods.shared import HOW, JUDGES

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

STARTING_TOLERANCE = 1e-3
"""How far the first loss may be from its known value: fp32 arithmetic strays by 1e-6, a wrong reference by 1e-1."""

LOSSES = (
    "sigmoid",
    "sigmoid_norm",
    "robust",
    "ipo",
    "hinge",
    "apo_zero",
    "apo_down",
    "nca_pair",
    "sppo_hard",
)

PER_TOKEN = ("sigmoid_norm", "ipo")
"""Losses that divide by the answers' lengths themselves."""

METHOD = Method(
    name="dpo",
    label="Preference optimisation (DPO)",
    summary="Teaches taste from rankings: choose it after SFT, when you have ranked some hundred answers or more.",
    needs="pairs",
    hows=HOW,
    fields=(
        beta_field("dpo"),
        Field(
            "loss_type",
            "sigmoid",
            "Loss",
            "sigmoid: DPO as published. sigmoid_norm: the same per token, against length creep. robust: for rankings "
            "with mistakes in them. ipo: does not push on once a pair is won. hinge: stops at a margin. apo_zero, "
            "apo_down: for chosen answers better, or worse, than the model's own. nca_pair: holds the chosen likely. "
            "sppo_hard: moves both to a fixed distance; for answers that the model itself wrote.",
            choices=LOSSES,
            group="dpo",
            advanced=True,
        ),
        Field(
            "label_smoothing",
            0.0,
            "Share of wrong rankings",
            "With the robust loss: how many of your rankings you think are the wrong way round.",
            low=0.0,
            high=0.49,
            group="dpo",
            advanced=True,
        ),
        Field(
            "length_weight",
            1.0,
            "Weight of excess length",
            "How much the tokens count that the longer answer of a pair has beyond the shorter one. Below 1 a longer "
            "answer wins less by its length (LD-DPO, Liu et al. 2024); 0.5 is a good first try.",
            low=0.0,
            high=1.0,
            group="dpo",
            advanced=True,
        ),
        Field(
            "anchor",
            0.0,
            "Anchor on the chosen",
            "Adds so much of the chosen answers' own SFT loss, so that they stay likely (RPO, Pang et al. 2024). Try "
            "0.2 when the screen says that the chosen log-probability falls. 0: plain DPO.",
            low=0.0,
            high=10.0,
            group="dpo",
            advanced=True,
        ),
        precompute_field("dpo"),
        JUDGES,
    ),
    panels=(
        Panel("Loss", ("loss",)),
        Panel("Reward margin", ("reward_margin",)),
        Panel("Reward accuracy", ("reward_accuracy",)),
        Panel("Log-probability", ("chosen_logp", "rejected_logp")),
    ),
    defaults={"learning_rate": 2e-5},
)


def starting_loss(loss_type: str, beta: float) -> float:
    """The loss of a model that is its own reference: log-ratios are 0, and -log sigmoid(0) is ln 2."""
    known = {
        "hinge": 1.0,
        "ipo": (1 / (2 * beta)) ** 2,
        "apo_zero": 1.0,
        "apo_down": 1.0,
        "nca_pair": 2 * math.log(2),
        "sppo_hard": 2 * (1 / (2 * beta)) ** 2,
    }
    return known.get(loss_type, math.log(2))


def check_starting_point(loss: float, loss_type: str, beta: float) -> None:
    """A StartingPointError where a first loss is not the one of a model that is its own reference."""
    expected = starting_loss(loss_type, beta)
    if not abs(loss - expected) <= STARTING_TOLERANCE * max(1.0, expected):
        raise StartingPointError(
            f"The reference is not this run's starting model: the first loss is {loss:.4f}, not {expected:.4f}.",
            "The parent's files may have changed since the run was ordered. Order it again; if that does not help, "
            "start from the base.",
        )


def check_settings(settings: dict[str, Value]) -> None:
    """A SettingError for a combination that would be silently ignored."""
    if float(settings["label_smoothing"]) > 0 and settings["loss_type"] != "robust":
        raise SettingError(
            f"label_smoothing has no effect on the {settings['loss_type']} loss.",
            "Set loss_type=robust, or leave it at 0.",
        )
    if float(settings.get("length_weight", 1.0)) < 1 and settings["loss_type"] in PER_TOKEN:
        raise SettingError(
            f"The {settings['loss_type']} loss divides by the length already; length_weight would correct it twice.",
            "Leave length_weight at 1, or set loss_type=sigmoid.",
        )


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    from trl import DPOConfig

    from workbench.worker import data, starting_point, training
    from workbench.worker.trainers import PreferenceTrainer

    settings = context.job.settings
    check_settings(settings)
    loss_type, beta = str(settings["loss_type"]), float(settings["beta"])
    # Runs ordered before there were these two are resumed without them.
    anchor, length_weight = float(settings.get("anchor", 0.0)), float(settings.get("length_weight", 1.0))
    precompute = precomputes(settings)

    def build(start: Any, arguments: dict[str, Any], rows: Any, held_out: Any) -> Any:
        if precompute:
            context.phase("working out the reference")
        return PreferenceTrainer(
            model=start.model,
            peft_config=start.peft_config,
            processing_class=start.tokenizer,
            train_dataset=rows,
            eval_dataset=held_out,
            args=DPOConfig(
                **arguments,
                beta=beta,
                loss_type=[loss_type, "sft"] if anchor else [loss_type],
                loss_weights=[1.0, anchor] if anchor else None,
                ld_alpha=length_weight if length_weight < 1 else None,
                label_smoothing=float(settings["label_smoothing"]),
                precompute_ref_log_probs=precompute,
                max_length=None,
            ),
        )

    def check_start(trainer: Any) -> None:
        weights = list(trainer.loss_weights)
        trainer.loss_weights = [1.0, 0.0][: len(weights)]  # the anchor's own loss is not known beforehand
        check_starting_point(starting_point.first_loss(trainer), loss_type, beta)
        trainer.loss_weights = weights

    return training.run(context, training.Recipe(build, data.dpo_row, check_start))
