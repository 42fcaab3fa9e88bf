"""Groups of answers to one prompt: how TRL's GRPO and RLOO trainers come by them here, and how they resume exactly.

TRL samples with `generate`, from one random state for the whole batch. Here answers are written by the sampler that
every sampling run uses, each by a seed of its own, made of the run's seed, the step and its place: the same answer
whatever shares its batch, however often memory made the batch smaller, and after a resume.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from trl import GRPOTrainer, RLOOTrainer
from trl.trainer.utils import RepeatSampler, add_fused_lm_head, split_tensor_dict

from workbench import rewards
from workbench.tokens import ChatTokens
from workbench.worker import batches
from workbench.worker.callback import TERM, Look
from workbench.worker.context import RunContext
from workbench.worker.data import read_rows
from workbench.worker.decoding import Answer, Rule
from workbench.worker.rewards import Rewards
from workbench.worker.sampling import batch_size
from workbench.worker.trainers import Publishing

ROLLOUT = "rollout.safetensors"
"""In a checkpoint between two updates on the same answers: those answers, with all that TRL knows of them."""


@dataclass
class Rollout:
    """How answers are written: shared by all steps of a run."""

    context: RunContext
    tokens: ChatTokens
    rule: Rule
    seed: int

    @property
    def greedy(self) -> Rule:
        """The likeliest answer, for held-out prompts: no luck in the measurement."""
        return Rule(0, 1, self.rule.max_tokens, self.rule.end_ids)

    def answers(
        self, model: Any, prompts: Sequence[Sequence[int]], rule: Rule, step: int, *, with_logps: bool = False
    ) -> list[Answer]:
        """An answer to each prompt, each by a seed of its own."""
        size = batch_size(model, max(map(len, prompts)), rule)
        drawn = batches.generator_of(self.seed, step) if rule.temperature else None
        return batches.answers(self.context, model, prompts, rule, drawn, size, with_logps=with_logps)[0]


class Reward:
    """A job's reward as TRL calls it. `rewards` is set once the policy is ready to have reward models attached."""

    __name__ = "reward"

    rewards: Rewards

    def __init__(self, tokens: ChatTokens) -> None:
        self.tokens = tokens

    def __call__(
        self,
        *,
        completion_ids: Sequence[Sequence[int]],
        prompt_ids: Sequence[Sequence[int]],
        answer: Sequence[str],
        kind: Sequence[str],
        log_metric: Any,
        **_: Any,
    ) -> list[float]:
        rows: list[Mapping[str, Any]] = [{"answer": a, "kind": k} for a, k in zip(answer, kind, strict=True)]
        ids = [[*asked, *said] for asked, said in zip(prompt_ids, completion_ids, strict=True)]
        total, apart = self.rewards.of(rows, ids, [self.tokens.decode(said) for said in completion_ids])
        for name, scores in apart.items() if len(apart) > 1 else ():
            log_metric(TERM + name, scores.mean().item())
        return [float(value) for value in total]


def with_end(answer: Answer) -> list[int]:
    """An answer's tokens and the one that ended it."""
    return [*answer.ids, answer.end] if answer.end is not None else answer.ids


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order that depends on seed and epoch alone: TRL's own goes wrong after a resume."""

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each pass through the prompts."""
        self.generator.manual_seed(int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]))


class Groups(Publishing):
    """What GRPO and RLOO do alike, and otherwise than TRL."""

    rollout: Rollout
    mean_length = 0.0
    """Tokens of the last answers that were learnt from."""

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.rollout.tokens.prompt_ids(turns) for turns in prompts], None, {}

    def _write(self: Any, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Answers to learn from, or the likeliest ones to measure by, with what they say of the run."""
        began, training = time.monotonic(), self.model.training
        answers = self._answers(prompt_ids, self.rollout.rule if training else self.rollout.greedy)
        metrics = self._metrics["train" if training else "eval"]
        metrics["stopped"].append(sum(answer.ended for answer in answers) / len(answers))
        metrics["rollout_seconds"].append(time.monotonic() - began)
        return [with_end(answer) for answer in answers]

    def write_likeliest(self: Any, prompt_ids: list[list[int]]) -> list[list[int]]:
        """The likeliest answers, for somebody to look at."""
        return [with_end(answer) for answer in self._answers(prompt_ids, self.rollout.greedy)]

    def _answers(self: Any, prompt_ids: list[list[int]], rule: Rule) -> list[Answer]:
        """Answers by the model as it is, without dropout."""
        training = self.model.training
        self.model.eval()
        with self.compute_loss_context_manager():
            answers: list[Answer] = self.rollout.answers(self.model, prompt_ids, rule, self.state.global_step)
        self.model.train(training)
        return answers

    def _calculate_rewards(self: Any, *args: Any) -> Any:
        began = time.monotonic()
        scores = super()._calculate_rewards(*args)  # type: ignore[misc]  # TRL's, in the class this is mixed into
        self._metrics["train" if self.model.training else "eval"]["score_seconds"].append(time.monotonic() - began)
        return scores

    def _prepare_inputs(self: Any, batch: Any) -> Any:
        """TRL shuffles answers over micro-batches by torch's random state; here by the step alone."""
        if not self.model.training:
            return super()._prepare_inputs(batch)  # type: ignore[misc]  # TRL's
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([self.rollout.seed, self._step]).generate_state(1)[0]))
            return super()._prepare_inputs(batch)  # type: ignore[misc]  # TRL's

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        """The KL of whole answers, as PPO has it, where TRL's is a token's; the update's seconds by themselves.

        Held-out prompts have one answer each, so their loss and their groups say nothing.
        """
        training = "loss" in logs
        metrics = self._metrics["train" if training else "eval"]
        if not training:
            logs.pop("eval_loss", None)
            metrics.pop("frac_reward_zero_std", None)
        lengths = metrics.get("completions/mean_length")  # none in a second step on the same answers
        length = sum(lengths) / len(lengths) if lengths else self.mean_length
        if training:
            self.mean_length = length
        if "kl" in metrics:  # nobody measures it without a reference, nor RLOO in a second step on the same answers
            metrics["kl"] = [each * length for each in metrics["kl"]]
        if spent := metrics.get("step_time"):
            others = (metrics.get("rollout_seconds", []), metrics.get("score_seconds", []))
            metrics["update_seconds"] = [sum(spent) - sum(map(sum, others))]
        super().log(logs, start_time)  # type: ignore[misc]  # TRL's

    def _get_train_sampler(self: Any, dataset: Any = None) -> EpochSampler:
        found = super()._get_train_sampler(dataset)  # type: ignore[misc]  # TRL's
        return EpochSampler(
            found.data_source, found.mini_repeat_count, found.batch_size, found.repeat_count, found.shuffle, found.seed
        )

    def _between_updates(self: Any) -> bool:
        """Whether answers in hand are to be learnt from again."""
        return bool(self._step % (self.args.steps_per_generation * self.num_iterations))

    def _save_rng_state(self: Any, folder: str) -> None:
        """Beside the random state, the answers in hand."""
        super()._save_rng_state(folder)  # type: ignore[misc]  # Trainer's
        if self._between_updates():
            parts: list[dict[str, Any]] = self._buffered_inputs
            whole = {
                name: torch.cat([part[name] for part in parts]) if value.dim() else value
                for name, value in parts[0].items()
                if isinstance(value, torch.Tensor)
            }
            save_file({name: value.contiguous() for name, value in whole.items()}, str(Path(folder) / ROLLOUT))

    def _load_rng_state(self: Any, folder: str) -> None:
        """Called after a resume, before the first answers would be written."""
        super()._load_rng_state(folder)  # type: ignore[misc]  # Trainer's
        self._step = self.state.global_step * self.args.gradient_accumulation_steps
        file = Path(folder) / ROLLOUT
        if file.is_file():
            held = load_file(file, device=str(self.accelerator.device))
            self.mean_length = held["completion_mask"].sum(1).float().mean().item()
            self._buffered_inputs = split_tensor_dict(held, self.args.steps_per_generation)


class GroupTrainer(Groups, GRPOTrainer):
    """TRL's GRPOTrainer on rows of `prompt`, `prompt_ids`, `answer` and `kind`."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        return self._write(prompt_ids), None


class LeaveOneOutTrainer(Groups, RLOOTrainer):
    """TRL's RLOOTrainer on the same rows."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> list[list[int]]:
        return self._write(prompt_ids)


def count_positions(model: Any) -> None:
    """Counts positions from a row's first real token: TRL leaves padding on the left and passes none.

    Llama's rotary positions do not mind a shift, learnt ones do.
    """
    inner = model.get_base_model() if isinstance(model, PeftModel) else model

    def add(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask, given = kwargs.get("attention_mask"), kwargs.get("input_ids")
        if mask is not None and mask.dim() == 2 and given is not None and kwargs.get("position_ids") is None:
            kwargs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -given.shape[1] :]
        return args, kwargs

    if "position_ids" in inspect.signature(type(inner).forward).parameters:
        inner.register_forward_pre_hook(add, with_kwargs=True)


def hold_against(trainer: Any, reference: Any, beta: float) -> None:
    """Takes a whole model, the run's start, as the reference. TRL would load one by its path, which may be another."""
    reference.requires_grad_(False)
    count_positions(reference)
    add_fused_lm_head(reference, temperature=trainer.temperature)
    trainer.ref_model = trainer.accelerator.prepare_model(reference, evaluation_mode=True)
    trainer.beta = beta


def watcher(trainer: Any, reward: Reward) -> Callable[[], Look] | None:
    """Answers the watched prompts greedily, and says what the answers are worth. No random number is drawn."""
    rollout: Rollout = trainer.rollout
    rows = read_rows(rollout.context.paths.data / "watch.jsonl")
    prompts = [rollout.tokens.prompt_ids(row["prompt"]) for row in rows]
    if not rows:
        return None

    def watch() -> Look:
        said = trainer.write_likeliest(prompts)
        texts = [rollout.tokens.decode(ids) for ids in said]
        worth, _ = reward.rewards.of(rows, [[*p, *a] for p, a in zip(prompts, said, strict=True)], texts)
        judged = rewards.answerable(reward.rewards.terms, rows)
        known: list[float | None] = [float(w) if row in judged else None for w, row in zip(worth, rows, strict=True)]
        return [[row["prompt"][-1]["content"], text] for row, text in zip(rows, texts, strict=True)], known

    return watch
