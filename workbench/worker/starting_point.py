"""The loss of a trainer's first rows before anything has been learnt."""

from __future__ import annotations

from typing import Any

import torch


def first_loss(trainer: Any) -> float:
    """The mean loss of the first micro-batch of rows. Leaves no gradient, no metric, no random number drawn."""
    rows = [
        trainer.train_dataset[i]
        for i in range(min(trainer.args.per_device_train_batch_size, len(trainer.train_dataset)))
    ]
    was_training = trainer.model.training
    trainer.model.eval()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        inputs = trainer._prepare_inputs(trainer.data_collator(rows))
        loss = float(trainer.compute_loss(trainer.model, inputs))
    trainer._metrics["eval"].clear()  # TRL would add these to its first real evaluation
    trainer.model.train(was_training)
    return loss
