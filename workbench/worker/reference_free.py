"""TRL's ORPO and CPO trainers, taking pairs that are tokens already. They live in TRL's experimental part.

What of them is not used: their own tokenising (it ends answers with the tokenizer's eos, not with the template's end
of turn, and cannot tell a control token from text that spells one) and their own way to put an adapter on a quantised
base (it casts embeddings and head to fp32, gigabytes of a large vocabulary).
"""

from __future__ import annotations

import os
from typing import Any

from peft import get_peft_model
from transformers import set_seed

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # before the import: it warns that its interface may change

from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from workbench.worker.model import Start
from workbench.worker.trainers import Publishing


class Paired(Publishing):
    """A trainer on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    def tokenize_row(self, feature: dict[str, list[int]], model: Any = None) -> dict[str, list[int]]:
        """The columns that TRL's collator and loss read; only answers carry labels."""
        asked = feature["prompt_ids"]
        made = {}
        for name in ("chosen", "rejected"):
            said = feature[f"{name}_ids"]
            made[f"{name}_input_ids"] = asked + said
            made[f"{name}_attention_mask"] = [1] * len(asked + said)
            made[f"{name}_labels"] = [-100] * len(asked) + said
        return made


class MarginTrainer(Paired, CPOTrainer):
    """TRL's CPOTrainer, for SimPO."""


class OddsTrainer(Paired, ORPOTrainer):
    """TRL's ORPOTrainer."""


def with_adapter(start: Start, seed: int) -> Any:
    """The model with the adapter that is still to be made, drawn from the run's seed as TRL's other trainers do."""
    if start.peft_config is None:
        return start.model
    set_seed(seed)
    return get_peft_model(start.model, start.peft_config)
