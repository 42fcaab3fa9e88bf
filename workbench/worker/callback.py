"""Our one TrainerCallback: it turns what a trainer does into events, and asks it to measure, save and stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from workbench.errors import RunError
from workbench.events import Evaluated, Planned, Step, Watched, finite
from workbench.worker.context import RunContext

NAMES = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "mean_token_accuracy",
    "entropy": "entropy",
    "aux_loss": "aux_loss",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "logps/chosen": "chosen_logp",
    "logps/rejected": "rejected_logp",
    "log_odds_chosen": "log_odds",
    "kl": "kl",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "even_groups",
    "completions/mean_length": "length",
    "clip_ratio/region_mean": "clip_fraction",
    "stopped": "stopped",
    "rollout_seconds": "rollout_seconds",
    "score_seconds": "score_seconds",
    "update_seconds": "update_seconds",
    "pair_accuracy": "pair_accuracy",
    "reward_mean": "reward_mean",
    "reward_spread": "reward_spread",
    "reward_margin": "reward_margin",
    "calibration_error": "calibration_error",
}
"""TRL's names of metrics and ours, which are one word for charts and queries."""

TERM = "reward "
"""How the metric of one of several terms of a reward begins; the term follows as the reward names it."""

Look = list[list[str]] | tuple[list[list[str]], list[float | None]]
"""[prompt, answer] of each watched prompt, and where the run has a reward what each answer is worth."""

PATIENCE_STEPS = 3
"""Steps in a row without a finite loss after which the run ends: one may be an overflow, three are a broken model."""


def renamed(logs: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The metrics we know, under our names, and those of a reward's terms under theirs."""
    found = {ours: logs[prefix + theirs] for theirs, ours in NAMES.items() if prefix + theirs in logs}
    terms = {name.removeprefix(prefix): logs[name] for name in logs if name.startswith(prefix + TERM)}
    return {**found, **terms}


class Reporter(TrainerCallback):
    """Emits Planned, Step, Evaluated and Watched, and steers the trainer by the job's settings."""

    def __init__(
        self,
        context: RunContext,
        *,
        counts: dict[str, int],
        evaluate: Callable[[], Any] | None,
        watch: Callable[[], Look] | None,
        before_first_step: Callable[[], None] | None = None,
        trial: Callable[[], None] | None = None,
    ) -> None:
        self.context = context
        self.counts = counts
        self.evaluate = evaluate
        self.watch = watch
        self.before_first_step = before_first_step
        self.trial = trial
        self.stopped = False
        self.last_metrics: dict[str, float | None] = {}
        self._broken_steps = 0
        self._tokens_before = 0.0
        self._began = time.monotonic()

    def _due(self, setting: str, state: Any) -> bool:
        every = int(self.context.job.settings[setting])
        return every > 0 and state.global_step % every == 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Says what lies ahead; before a first step, measures and listens to the model as it is."""
        self.context.emit(Planned(total_steps=state.max_steps, **self.counts))
        self._tokens_before = float(state.num_input_tokens_seen)
        self.context.progress(state.global_step)
        if self.trial is not None:
            self.trial()
        if state.global_step == 0:
            if self.before_first_step is not None:
                self.before_first_step()
            if self.evaluate is not None:
                self.evaluate()
            self._watch(0)
        self.context.phase("training")
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Asks for a measurement, a checkpoint or the end, where one is due. The trainer does them after the log."""
        last = state.global_step >= state.max_steps
        if self.evaluate is not None and (last or self._due("eval_every", state)):
            control.should_evaluate = True
        if not last and self._due("save_every", state):
            control.should_save = True
        if not last and self.context.stop_requested():
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """A step's metrics become an event. (TRL also logs evaluations and a summary here, which have no 'loss'.)"""
        state.log_history.clear()  # it would be written into every checkpoint, and events hold it already
        if "loss" not in logs:
            return
        now = time.monotonic()
        seconds, self._began = now - self._began, now
        seen = logs.get("num_tokens", self._tokens_before)  # none in a second step on the same answers
        tokens, self._tokens_before = int(seen - self._tokens_before), seen
        metrics = finite(renamed(logs))
        metrics["tokens_per_second"] = tokens / seconds if seconds > 0 else None
        self.last_metrics = metrics
        self.context.progress(state.global_step)
        self.context.emit(Step(step=state.global_step, metrics=metrics, seconds=seconds, tokens=tokens))
        self._look_for_breakage(logs, state, control)
        if self._due("watch_every", state) or state.global_step >= state.max_steps:
            self._watch(state.global_step)
        self._began = time.monotonic()

    def _look_for_breakage(self, logs: dict[str, Any], state: Any, control: Any) -> None:
        """A loss or gradient that is no number must not reach a checkpoint; several in a row end the run."""
        if math.isfinite(logs["loss"]) and math.isfinite(logs.get("grad_norm", 0.0)):
            self._broken_steps = 0
            return
        control.should_save = False
        self._broken_steps += 1
        what = "loss" if not math.isfinite(logs["loss"]) else "gradient"
        self.context.note(
            f"The {what} is not a finite number at step {state.global_step}; nothing is saved.", "warning"
        )
        if self._broken_steps >= PATIENCE_STEPS:
            rate = self.context.job.settings["learning_rate"]
            raise RunError(
                f"The {what} has not been a finite number for {PATIENCE_STEPS} steps (step {state.global_step}): "
                "the training diverged. The last good checkpoint is kept.",
                f"Order it again with a lower learning rate than {rate:g}, or a longer warm-up.",
            )

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any], **_: Any) -> None:
        """Metrics on the held-out rows become an event."""
        self.context.emit(Evaluated(step=state.global_step, metrics=finite(renamed(metrics, "eval_"))))
        self._began = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The clock of the next step starts after the save."""
        self._began = time.monotonic()

    def _watch(self, step: int) -> None:
        if self.watch is None:
            return
        looked = self.watch()
        samples, rewards = looked if isinstance(looked, tuple) else (looked, [])
        self.context.emit(Watched(step=step, samples=samples, rewards=rewards))
