"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024): learns from single answers called good or bad.

Data: thumbs (`workbench.thumbs`): answers with a yes or a no, not held against each other. Loss (the paper's equation
7): weight * (1 - sigmoid(beta * (h - z))) for a good answer and weight * (1 - sigmoid(beta * (z - h))) for a bad one,
with h the log-ratio of model and reference, and z the mean log-ratio of answers to prompts that are not theirs, at
least 0. The reference is the run's starting weights, as for DPO, so at the start h = z = 0 and every loss is half its
weight.
Departures from TRL: rows come as tokens from `workbench.tokens`; they are shuffled once by the seed, and the answer
that stands in for z is one to another prompt (TRL takes the row before within the micro-batch, which may be another
answer to the same prompt, and changes with the micro-batch); weights balance good and bad by themselves unless set.
"""

from __future__ import annotations

from collections.abc import Sequence
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
"""How far the first loss may be from its known value, as for DPO."""

METHOD = Method(
    name="kto",
    label="Thumbs (KTO)",
    summary="Teaches taste from single answers called good or bad: choose it when you vote 'both bad' often, or have "
    "far more of one kind than of the other.",
    needs="thumbs",
    hows=HOW,
    fields=(
        beta_field("kto"),
        Field(
            "loss_type",
            "kto",
            "Loss",
            "kto: as published; it needs two rows at once. apo_zero_unpaired: without the mean over other prompts, so "
            "each step costs a third less, and one row at a time will do.",
            choices=("kto", "apo_zero_unpaired"),
            group="kto",
            advanced=True,
        ),
        Field(
            "desirable_weight",
            0.0,
            "Weight of good answers",
            "auto: as much as makes good and bad answers weigh the same together. 1 with 1 counts every answer alike.",
            low=0.0,
            high=100.0,
            group="kto",
            advanced=True,
            zero="auto",
        ),
        Field(
            "undesirable_weight",
            0.0,
            "Weight of bad answers",
            "auto: as much as makes good and bad answers weigh the same together. Raise it where bad ones do harm.",
            low=0.0,
            high=100.0,
            group="kto",
            advanced=True,
            zero="auto",
        ),
        precompute_field("kto"),
        JUDGES,
    ),
    panels=(
        Panel("Loss", ("loss",)),
        Panel("Reward", ("chosen_reward", "rejected_reward")),
        Panel("Reward margin", ("reward_margin",)),
        Panel("KL", ("kl",)),
        Panel("Log-probability", ("chosen_logp", "rejected_logp")),
    ),
    defaults={"learning_rate": 2e-5, "micro_batch": 2, "accumulation": 8},
)


def balanced(up: int, down: int, desirable: float, undesirable: float) -> tuple[float, float]:
    """The weights of good and bad answers, with what is 0 chosen so that both kinds weigh the same together.

    The paper's equation 8 allows the good ones up to a third more. Where both are to be chosen, the rarer kind is
    raised and the other counts 1, so that no answer counts for less than it would alone.
    """
    share = max(up, 1) / max(down, 1)
    if not desirable and not undesirable:
        return (1.0, share) if share >= 1 else (1 / share, 1.0)
    return desirable or undesirable / share, undesirable or desirable * share


def starting_loss(labels: Sequence[bool], desirable: float, undesirable: float) -> float:
    """The mean loss of rows with these labels before anything was learnt: half of each row's weight."""
    return sum(desirable if up else undesirable for up in labels) / 2 / len(labels)


def check_starting_point(loss: float, expected: float) -> None:
    """A StartingPointError where a first loss is not the one of a model that is its own reference."""
    if not abs(loss - expected) <= STARTING_TOLERANCE * max(1.0, expected):
        raise StartingPointError(
            f"The reference is not this run's starting model: the first loss is {loss:.4f}, not {expected:.4f}.",
            "The parent's files may have changed since the run was ordered. Order it again; if that does not help, "
            "start from the base.",
        )


def check_settings(settings: dict[str, Value]) -> None:
    """A SettingError for what KTO cannot do."""
    if settings["loss_type"] == "kto" and int(settings["micro_batch"]) < 2:
        raise SettingError(
            "The kto loss needs two rows at once: one row's answer is held against another's prompt.",
            "Set micro_batch=2 and half the accumulation, or loss_type=apo_zero_unpaired.",
        )


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    from trl import KTOConfig

    from workbench.worker import data, starting_point, training
    from workbench.worker.trainers import ThumbsTrainer

    settings = context.job.settings
    check_settings(settings)
    held_against_others = settings["loss_type"] == "kto"
    precompute = precomputes(settings)

    def build(start: Any, arguments: dict[str, Any], rows: Any, held_out: Any) -> Any:
        if precompute:
            context.phase("working out the reference")
        ups = sum(rows["label"])
        good, bad = balanced(
            ups, len(rows) - ups, float(settings["desirable_weight"]), float(settings["undesirable_weight"])
        )
        context.note(f"{ups} good and {len(rows) - ups} bad answers; they count {good:.3g} and {bad:.3g}.")
        seed = int(settings["seed"])
        return ThumbsTrainer(
            model=start.model,
            peft_config=start.peft_config,
            processing_class=start.tokenizer,
            train_dataset=data.shuffled_thumbs(rows, seed),
            eval_dataset=data.shuffled_thumbs(held_out, seed) if held_out is not None else None,
            args=KTOConfig(
                **arguments,
                beta=float(settings["beta"]),
                loss_type=str(settings["loss_type"]),
                desirable_weight=good,
                undesirable_weight=bad,
                precompute_ref_log_probs=precompute,
                max_length=None,
            ),
        )

    def check_start(trainer: Any) -> None:
        labels = trainer.train_dataset["label"][: trainer.args.per_device_train_batch_size]
        expected = starting_loss(labels, trainer.desirable_weight, trainer.undesirable_weight)
        check_starting_point(starting_point.first_loss(trainer), expected)

    least = 2 if held_against_others else 1
    return training.run(context, training.Recipe(build, data.thumb_row, check_start, least_rows=least))
