"""Direct preference optimisation (Rafailov et al. 2023): learns from pairs of a better and a worse answer.

Data: pairs with a common prompt. Loss, for the sigmoid: -log sigmoid(beta * ((log pi/ref of chosen) - (log pi/ref of
rejected))). The reference is the run's starting weights: the adapter switched off when the run starts from the base,
a frozen copy of the starting adapter otherwise, log-probabilities worked out beforehand where whole weights are
tuned. So the first loss is known (ln 2), and a run whose first loss differs ends before it has trained on nonsense.
Departures from TRL: rows come as tokens from `workbench.tokens`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from workbench.errors import SettingError, StartingPointError
from workbench.fields import Field, Value
from workbench.methods import Method, Panel

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

STARTING_TOLERANCE = 1e-3
"""How far the first loss may be from its known value: fp32 arithmetic strays by 1e-6, a wrong reference by 1e-1."""

METHOD = Method(
    name="dpo",
    label="Preference optimisation (DPO)",
    summary="Teaches taste from rankings: choose it after SFT, when you have ranked some hundred answers or more.",
    needs="pairs",
    fields=(
        Field(
            "beta",
            0.1,
            "Beta",
            "How closely the model keeps to its starting point. 0.01 lets it go far, 0.5 hardly moves it.",
            low=1e-4,
            high=10,
            group="dpo",
        ),
        Field(
            "loss_type",
            "sigmoid",
            "Loss",
            "sigmoid: DPO as published. sigmoid_norm: the same per token, against length creep. robust: for rankings "
            "with mistakes in them. ipo: does not push on once a pair is won. hinge: stops at a margin. apo_zero, "
            "apo_down: for chosen answers better, or worse, than the model's own. nca_pair: holds the chosen likely.",
            choices=("sigmoid", "sigmoid_norm", "robust", "ipo", "hinge", "apo_zero", "apo_down", "nca_pair"),
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
            "precompute_reference",
            False,
            "Reference beforehand",
            "Works out the reference's probabilities once, before the loop: each step saves a pass, the start takes "
            "longer. Worth it from two epochs on. Always on where whole weights are tuned.",
            group="dpo",
        ),
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


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    from trl import DPOConfig

    from workbench.worker import data, starting_point, training
    from workbench.worker.trainers import PreferenceTrainer

    settings = context.job.settings
    check_settings(settings)
    loss_type, beta = str(settings["loss_type"]), float(settings["beta"])
    precompute = bool(settings["precompute_reference"]) or settings["how"] in ("full", "last_layers")

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
                loss_type=[loss_type],
                label_smoothing=float(settings["label_smoothing"]),
                precompute_ref_log_probs=precompute,
                max_length=None,
            ),
        )

    def check_start(trainer: Any) -> None:
        check_starting_point(starting_point.first_loss(trainer), loss_type, beta)

    return training.run(context, training.Recipe(build, data.dpo_row, check_start))
