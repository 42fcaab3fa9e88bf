"""What the tests of losses share: a trainer on the tiny base, and log-probabilities worked out without TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def quick_arguments(folder: Path, rows: int) -> dict[str, Any]:
    """Arguments of one of TRL's configs for a batch of so many rows that is never trained on."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": rows,
        "per_device_eval_batch_size": rows,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": None,
    }


def answer_logps(model: Any, ids: Any, attention: Any, answers: Any) -> Any:
    """The summed log-probability of each row's answer tokens, (B,), by softmax over all logits."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=attention).logits[:, :-1]  # (B, T - 1, V)
    each = torch.log_softmax(logits, dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)  # (B, T - 1)
    return (each * answers[:, 1:]).sum(1)
