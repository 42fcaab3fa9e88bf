"""TRL's trainers, taking rows that are tokens already and handing their checkpoints to whoever publishes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trl import DPOTrainer, KTOTrainer, SFTTrainer

from workbench.worker import soft_prompt


class Publishing:
    """A Trainer whose checkpoints are published by `publish` instead of being written in place.

    Called where Trainer saves: after the step's log and evaluation, so a resume repeats neither.
    """

    publish: Callable[[Any], None]

    model: Any

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.publish(self)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if soft_prompt.is_soft(self.model):
            soft_prompt.load_values(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]  # Trainer's, beside us


class SupervisedTrainer(Publishing, SFTTrainer):
    """TRL's SFTTrainer on rows of `input_ids` and `labels`."""


class Prepared(Publishing):
    """A trainer whose rows are tokens already."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class PreferenceTrainer(Prepared, DPOTrainer):
    """TRL's DPOTrainer on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""


class ThumbsTrainer(Prepared, KTOTrainer):
    """TRL's KTOTrainer on rows of `prompt_ids`, `completion_ids`, `KL_completion_ids` and `label`."""
