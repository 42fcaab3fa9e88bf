"""What must be true of RLOO and GRPO before the first step: sampler, update and reference say the same of an answer."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import is_peft_model
from trl.trainer.utils import pad, use_adapter

from workbench.errors import StartingPointError
from workbench.worker.decoding import Answer
from workbench.worker.groups import Rollout, with_end

CHECKED_PROMPTS = 4
"""Prompts answered before the first step, to see that sampler, update and reference agree."""

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""Nats a token, the mean over an answer, between two ways to compute its likelihood: fp32 strays by 1e-5, 16 bits by
their rounding of logits around 30 (bf16: 0.125 each); a wrong position, template or reference by several nats."""


@torch.no_grad()
def check(trainer: Any) -> None:
    """A StartingPointError where sampler, update pass and reference do not give the first answers the same likelihood.

    Before the first step the policy is its own reference: every ratio is 1 and the KL is 0.
    """
    rows = [trainer.train_dataset[i] for i in range(min(CHECKED_PROMPTS, len(trainer.train_dataset)))]
    prompts = [row["prompt_ids"] for row in rows]
    rollout: Rollout = trainer.rollout
    was_training = trainer.model.training
    trainer.model.eval()
    with trainer.compute_loss_context_manager():
        answers = rollout.answers(trainer.model, prompts, rollout.rule, 0, with_logps=True)
        updated, reference = _likelihoods(trainer, prompts, answers)
    trainer.model.train(was_training)
    said = [torch.tensor(answer.logps) for answer in answers]
    tolerance = TOLERANCE[torch.float32 if trainer.accelerator.device.type == "cpu" else _products(trainer)]
    _compare(said, updated, tolerance, "the update pass does not give the answers the sampler's likelihood")
    if reference is not None:
        _compare(reference, updated, tolerance, "the reference is not this run's starting model")


def _products(trainer: Any) -> torch.dtype:
    return torch.bfloat16 if trainer.args.bf16 else torch.float16 if trainer.args.fp16 else torch.float32


def _likelihoods(
    trainer: Any, prompts: list[list[int]], answers: list[Answer]
) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    """Log-probabilities of each answer's tokens by policy and reference, as TRL's update pass computes them."""
    device = trainer.accelerator.device
    said = [with_end(answer) for answer in answers]
    asked = [torch.tensor(ids) for ids in prompts]
    written = [torch.tensor(ids) for ids in said]
    filler = trainer._tokenizer.pad_token_id
    ids = torch.cat([pad(asked, filler, "left"), pad(written, filler, "right")], dim=1).to(device)  # (B, P + C)
    ones = [torch.ones_like(part) for part in asked], [torch.ones_like(part) for part in written]
    mask = torch.cat([pad(ones[0], 0, "left"), pad(ones[1], 0, "right")], dim=1).to(device)
    longest = max(map(len, said))

    def of(model: Any) -> list[torch.Tensor]:
        logps = trainer._get_per_token_logps_and_entropies(model, ids, mask, longest)[0].float().cpu()  # (B, C)
        return [row[: len(part)] for row, part in zip(logps, said, strict=True)]

    updated = of(trainer.model)
    if not trainer.beta:
        return updated, None
    if trainer.ref_model is not None or not is_peft_model(trainer.model):
        return updated, of(trainer.ref_model)
    model = trainer.accelerator.unwrap_model(trainer.model)
    with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
        return updated, of(model)


def _compare(one: list[torch.Tensor], other: list[torch.Tensor], tolerance: float, wrong: str) -> None:
    differences = [float((a - b).abs().mean()) for a, b in zip(one, other, strict=True)]
    if not max(differences) <= tolerance:
        raise StartingPointError(
            f"Before the first step {wrong}: they differ by {max(differences):.2g} nats a token.",
            "The parent's files may have changed since the run was ordered. Order it again; if that does not help, "
            "start from the base.",
        )
