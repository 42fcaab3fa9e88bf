"""TRL's trainers, taking rows that are tokens already and handing their checkpoints to whoever publishes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trl import DPOTrainer, SFTTrainer


class Publishing:
    """A Trainer whose checkpoints are published by `publish` instead of being written in place.

    Called where Trainer saves: after the step's log and evaluation, so a resume repeats neither.
    """

    publish: Callable[[Any], None]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.publish(self)


class SupervisedTrainer(Publishing, SFTTrainer):
    """TRL's SFTTrainer on rows of `input_ids` and `labels`."""


class PreferenceTrainer(Publishing, DPOTrainer):
    """TRL's DPOTrainer on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset
