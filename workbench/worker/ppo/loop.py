"""PPO's loop: models, prompts, then rollout, score, advantages, passes and events, step after step.

A step of the run is one rollout with all its passes. The state after it is all that the next one depends on.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from workbench.errors import RunError
from workbench.events import Metrics, Planned, Step, finite
from workbench.worker import attempts, batches, model, saving
from workbench.worker.arguments import Batch
from workbench.worker.context import RunContext, StopRequested
from workbench.worker.decoding import Interrupted, Rule
from workbench.worker.log import quiet_libraries
from workbench.worker.ppo import advantages, optimiser, passes, roles, rollout, worth
from workbench.worker.ppo.looking import Looker, reward_metrics
from workbench.worker.ppo.passes import Learner, Learnt
from workbench.worker.ppo.rollout import Asked, Rollout, Writer
from workbench.worker.ppo.state import Progress, State
from workbench.worker.ppo.worth import Worth
from workbench.worker.rewards import Rewards
from workbench.worker.sampling import batch_size

DECODING_AGREES = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Mean nats a token between sampling with a cache and a pass over the whole: rounding in that type, and no more."""

PATIENCE_STEPS = 3
"""Steps in a row with a number that is none after which the run ends: one may be an overflow."""


@dataclass
class Run:
    """What the loop works with."""

    context: RunContext
    state: State
    rewards: Rewards
    asked: Asked
    writer: Writer
    learner: Learner
    looker: Looker
    publisher: saving.Publisher
    answers: int
    """Answers of a step."""
    total_steps: int

    def due(self, setting: str) -> bool:
        every = int(self.context.job.settings[setting])
        return every > 0 and self.state.progress.step % every == 0


def run(context: RunContext) -> Metrics:
    """Trains, and returns the last step's metrics. Ends with StopRequested when the person asked."""
    quiet_libraries()
    return attempts.shrinking(context, lambda batch: _attempt(context, batch))


def _attempt(context: RunContext, batch: Batch) -> Metrics:
    newest = attempts.newest_checkpoint(context)
    dtype = str(model.working_dtype()).removeprefix("torch.")
    context.started(str(model.device()), dtype, newest.step if newest is not None else None)
    context.phase("loading the base")
    whole = prepare(context, batch)
    if newest is not None:
        whole.state.load(newest.path)
    context.progress(whole.state.progress.step)
    context.check_stop()
    if newest is None:
        context.phase("measuring before the first step")
        whole.looker.evaluate(0)
        whole.looker.watch(0)
    context.phase("training")
    metrics = _train(whole, newest.step if newest is not None else 0)
    context.phase("saving the model")
    whole.publisher.finished(whole.state.roles.model, whole.state.progress.step)
    return metrics


def _train(whole: Run, saved: int) -> Metrics:
    """Step after step to the end; `saved` is the step of the newest checkpoint."""
    context, state = whole.context, whole.state
    metrics: Metrics = {}
    first = True
    while state.progress.step < whole.total_steps:
        stop = False
        try:
            metrics = one_step(whole, check_decoding=first)
        except Interrupted:  # in the middle of a rollout, of which nothing is kept
            stop = True
        else:
            first = False
            _look_for_breakage(whole)
            _look(whole)
        last = state.progress.step >= whole.total_steps
        stop = not last and (stop or context.stop_requested())
        due = (stop or whole.due("save_every")) and not last and state.progress.step > saved
        if due and not state.progress.broken_steps:
            whole.publisher.step(state.roles.model, state.progress.step, state.save)
            saved = state.progress.step
        if stop:
            raise StopRequested
    return metrics


def one_step(whole: Run, *, check_decoding: bool = False) -> Metrics:
    """A rollout, what it is worth, and all passes that learn from it."""
    settings, state, seed = whole.context.job.settings, whole.state, int(whole.context.job.seed)
    step = state.progress.step + 1
    began = time.monotonic()
    rolled = whole.writer.rollout(
        whole.asked.of_step(step, whole.answers, seed),
        batches.generator_of(seed, step),
        with_logps=check_decoding,
    )
    written = time.monotonic()
    plans = whole.learner.plans(rolled, seed, step)
    found = worth.judge(state, whole.rewards, settings, rolled, plans[0])
    if check_decoding:
        passes.check_decoding(rolled, found.scored, DECODING_AGREES[model.working_dtype()])
    if step == 1:
        passes.check_reference(found.scored)
    judged = time.monotonic()
    gains = advantages.whiten(found.advantages, found.scored.mask)
    learnt = whole.learner.learn(rolled, found.scored, gains, found.returns, plans)
    done = time.monotonic()
    metrics = finite(
        {
            **_metrics(whole, rolled, found, learnt),
            "rollout_seconds": written - began,
            "score_seconds": judged - written,
            "update_seconds": done - judged,
            "episodes_per_second": whole.answers / (done - began),
        }
    )
    _count(whole, found.mean_kl, learnt)
    tokens = sum(map(len, rolled.answers))
    whole.context.emit(Step(step=step, metrics=metrics, seconds=done - began, tokens=tokens))
    return metrics


def _metrics(whole: Run, rolled: Rollout, found: Worth, learnt: Learnt) -> Metrics:
    """What a step is judged by, but for its seconds."""
    scored = found.scored
    return {
        **reward_metrics(rolled, found.raw, found.apart),
        "kl": found.mean_kl,
        "objective": float(found.rewards.sum(1).mean()),
        "entropy": float(advantages.masked_mean(scored.entropy, scored.mask)),
        "loss": learnt.policy_loss + whole.learner.value_weight * learnt.value_loss,
        "policy_loss": learnt.policy_loss,
        "value_loss": learnt.value_loss,
        "clip_fraction": learnt.clip_fraction,
        "explained_variance": advantages.explained_variance(scored.values, found.returns, scored.mask),
        "grad_norm": learnt.policy_norm,
        "value_grad_norm": learnt.value_norm,
        "beta": whole.state.progress.beta,
        "learning_rate": whole.state.optimizer.param_groups[0]["lr"],
    }


def _count(whole: Run, mean_kl: float, learnt: Learnt) -> None:
    """Counts the step, and moves beta where it is adaptive."""
    settings, progress = whole.context.job.settings, whole.state.progress
    progress.step += 1
    progress.broken_steps = progress.broken_steps + 1 if learnt.broken else 0
    if settings["kl_control"] == "adaptive" and math.isfinite(mean_kl):
        progress.beta = advantages.next_beta(
            progress.beta, mean_kl, float(settings["target_kl"]), whole.answers, int(settings["kl_horizon"])
        )


def _look(whole: Run) -> None:
    """Measures on held-out prompts and shows watched ones, where due and at the end."""
    step = whole.state.progress.step
    last = step >= whole.total_steps
    if last or whole.due("eval_every"):
        whole.looker.evaluate(step)
    if int(whole.context.job.settings["watch_every"]) and (last or whole.due("watch_every")):
        whole.looker.watch(step)


def _look_for_breakage(whole: Run) -> None:
    """A step with a number that is none is not saved; several in a row end the run."""
    progress, settings = whole.state.progress, whole.context.job.settings
    if not progress.broken_steps:
        return
    whole.context.note(
        f"A loss or gradient is not a finite number at step {progress.step}; nothing is saved.", "warning"
    )
    if progress.broken_steps >= PATIENCE_STEPS:
        raise RunError(
            f"Losses or gradients have not been finite numbers for {PATIENCE_STEPS} steps (step {progress.step}): the "
            "training diverged. The last good checkpoint is kept.",
            f"Order it again with a lower learning rate than {float(settings['learning_rate']):g}, or a higher beta.",
        )


def prepare(context: RunContext, batch: Batch) -> Run:
    """Loads everything, in the state before the first step."""
    settings = context.job.settings
    torch.manual_seed(int(context.job.seed))  # fresh adapters are drawn from it
    start = model.load_start(context.paths, context.job)
    cast, rewards = _cast(context, start)
    context.phase("preparing the data")
    longest = rollout.room_for_prompts(settings, start.context)
    asked, held_out, watched = (
        rollout.prompts(context, start.tokens, f"{name}.jsonl", rewards.terms, longest)
        for name in ("train", "held_out", "watch")
    )
    rollout.check_any(asked)
    rule = Rule(float(settings["temperature"]), 1.0, int(settings["max_tokens"]), tuple(start.tokens.end_ids))
    writer = Writer(context, cast.inner, start.tokens, rule, batch_size(cast.inner, longest, rule))
    answers = batch.micro * batch.accumulation * int(settings["mini_batches"])
    steps = max(1, math.ceil(float(settings["epochs"]) * len(asked) / answers))
    steps = min(steps, int(settings["max_steps"]) or steps)
    updates = steps * int(settings["passes"]) * int(settings["mini_batches"])
    scaler = torch.amp.GradScaler(cast.device.type, enabled=model.working_dtype() is torch.float16)
    state = State(cast, optimiser.make(cast, settings), scaler, Progress(beta=float(settings["beta"])))
    _announce(context, cast, len(asked), len(held_out), steps)
    learner = Learner(state, settings, batch, updates)
    looker = Looker(context, writer, rewards, held_out, watched)
    publisher = saving.Publisher(context, start)
    return Run(context, state, rewards, asked, writer, learner, looker, publisher, answers, steps)


def _cast(context: RunContext, start: model.Start) -> tuple[roles.Roles, Rewards]:
    """The roles on the run's starting model, and what answers are worth."""
    settings = context.job.settings
    cast = roles.assemble(start)
    rewards = Rewards(context, cast.model, start.tokens)
    if settings["value"] == "adapter" and settings["how"] in ("qlora", "lora"):
        roles.add_critic(cast, next(iter(rewards.attached.values()), None))
    cast.model.eval()
    if settings["gradient_checkpointing"]:
        cast.inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return cast, rewards


def _announce(context: RunContext, cast: roles.Roles, asked: int, held_out: int, steps: int) -> None:
    trained, total = model.count_parameters(cast.model)
    saving.check_room(context.paths.root, trained)
    context.emit(
        Planned(
            total_steps=steps,
            examples=asked,
            held_out=held_out,
            trainable_parameters=trained,
            total_parameters=total,
        )
    )
