"""The longest rows through the model and back before the first step, so that a lack of memory shows now, not in hours.

It is as if it had not been: no weight, gradient, metric or random state is another afterwards.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from workbench.fit import OPTIMIZER_BYTES

DEVICES = ("cuda",)
"""Where a trial is worth its second. A processor that lacks memory swaps, and says nothing."""

KEPT = ("_metrics", "_stored_metrics", "_total_train_tokens", "seen")
"""What trainers (TRL's and ours) note of the rows that they have seen."""


def go_through(trainer: Any) -> None:
    """One micro-batch of the longest rows forward and back. Called when training begins, once all is prepared."""
    count = min(int(trainer.args.per_device_train_batch_size), len(trainer.train_dataset))
    rows = [trainer.train_dataset[place] for place in longest(trainer.train_dataset, count)]
    model = trainer.model_wrapped
    was_training = model.training
    kept = {name: copy.deepcopy(getattr(trainer, name)) for name in KEPT if hasattr(trainer, name)}
    with _same_random_states():
        moments = _moments_to_come(trainer)
        try:
            model.train()
            inputs = trainer._prepare_inputs(trainer.data_collator(rows))
            with trainer.compute_loss_context_manager():
                loss = trainer.compute_loss(model, inputs)
            trainer.accelerator.backward(loss)
        finally:
            del moments
            model.zero_grad(set_to_none=True)
            model.train(was_training)
            for name, value in kept.items():
                setattr(trainer, name, value)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def longest(dataset: Any, count: int) -> list[int]:
    """The places of the rows with the most tokens, the longest first."""
    table = dataset.with_format("arrow")[:]
    lengths = np.zeros(len(table), dtype=np.int64)
    for column in table.columns:
        lengths += _lengths(column)
    return [int(place) for place in np.argsort(-lengths, kind="stable")[:count]]


def _lengths(column: Any) -> np.ndarray:
    """How many numbers each row of an Arrow column holds, lists of lists included; none where it holds no lists."""
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return np.zeros(len(column), dtype=np.int64)
    if pa.types.is_list(kind.value_type) or pa.types.is_large_list(kind.value_type):
        return np.array([sum(len(part or ()) for part in row or ()) for row in column.to_pylist()], dtype=np.int64)
    from pyarrow import compute

    return np.asarray(compute.list_value_length(column).fill_null(0), dtype=np.int64)


def _moments_to_come(trainer: Any) -> torch.Tensor | None:
    """As much memory as the optimiser will take at its first step; none where it has its moments, or pages them out."""
    if "paged" in str(trainer.args.optim) or trainer.optimizer is None or trainer.optimizer.state:
        return None
    each = OPTIMIZER_BYTES["8bit" if "8bit" in str(trainer.args.optim) else "32bit"]
    trained = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    return torch.empty(trained * each, dtype=torch.uint8, device=trainer.args.device)


@contextmanager
def _same_random_states() -> Iterator[None]:
    """Dropout in here draws numbers that are drawn again afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)
