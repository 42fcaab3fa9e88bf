"""Supervised fine-tuning: the model learns to give the demonstrated answers. TRL's SFTTrainer does the training.

Data: prompts with one good answer each. Loss: the mean negative log-likelihood of the answers' tokens, end of turn
included; prompts carry none (Ouyang et al. 2022, section 3.5). Departures from TRL: rows come as tokens from
`workbench.tokens`, so that what the form previews is what is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.fields import Field
from workbench.methods import Method, Panel
from workbench.methods.shared import HOW

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

METHOD = Method(
    name="sft",
    label="Supervised fine-tuning",
    summary="Teaches answers by example: choose it first, when you have demonstrations of what to say.",
    needs="demonstrations",
    from_base=True,
    hows=HOW,
    fields=(
        Field(
            "loss_type",
            "nll",
            "Loss",
            "nll: every token of the answer counts the same. dft: tokens the model already finds likely count more, "
            "which forgets less (Wu et al. 2025).",
            choices=("nll", "dft"),
            group="sft",
            advanced=True,
        ),
        Field(
            "tags",
            "",
            "Tags",
            "Tags of the demonstrations that the model is told, such as quality,topic: it learns to answer by them and "
            "can then be asked with quality=high. Each stands as [quality: high] before the question. Empty: none.",
            group="sft",
        ),
        Field(
            "untagged",
            0.1,
            "Share without tags",
            "With tags: how many of the rows go without, so that the model answers questions without tags too.",
            low=0.0,
            high=1.0,
            group="sft",
            advanced=True,
        ),
    ),
    panels=(
        Panel("Loss", ("loss",)),
        Panel("Token accuracy", ("mean_token_accuracy",)),
        Panel("Entropy", ("entropy",)),
    ),
)


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    from trl import SFTConfig

    from workbench.worker import data, training
    from workbench.worker.trainers import SupervisedTrainer

    def build(start: Any, arguments: dict[str, Any], rows: Any, held_out: Any) -> Any:
        return SupervisedTrainer(
            model=start.model,
            peft_config=start.peft_config,
            processing_class=start.tokenizer,
            train_dataset=rows,
            eval_dataset=held_out,
            args=SFTConfig(
                **arguments,
                loss_type=str(context.job.settings["loss_type"]),
                dataset_kwargs={"skip_prepare_dataset": True},
                max_length=None,
            ),
        )

    return training.run(context, training.Recipe(build, data.sft_row))
