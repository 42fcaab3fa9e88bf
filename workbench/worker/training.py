"""One training run from start to finish, whatever the method: load, resume, train, publish; shrink when memory ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PrinterCallback

from workbench.events import Metrics
from workbench.job import Job
from workbench.paths import RunPaths
from workbench.worker import attempts, data, model, saving, trial
from workbench.worker.arguments import Batch, trainer_arguments
from workbench.worker.callback import Look, Reporter
from workbench.worker.context import RunContext, StopRequested
from workbench.worker.decoding import Rule, answer_all
from workbench.worker.log import quiet_libraries

WATCHED_TOKENS = 64
"""An answer to a watched prompt is cut here: it is read in passing."""


@dataclass(frozen=True)
class Recipe:
    """What a method adds to a training run."""

    build: Callable[[model.Start, dict[str, Any], Any, Any], Any]
    """(start, Trainer arguments, training set, held-out set) to TRL's trainer."""
    encode: data.Encode
    check_start: Callable[[Any], None] | None = None
    """Called with the trainer before the first step of a run; raises where the starting point is wrong."""
    least_rows: int = 1
    """Rows that must go through the model at once, however short the memory."""
    load: Callable[[RunPaths, Job], model.Start] = model.load_start
    """Loads what the run starts from."""
    watch: Callable[[Any, model.Start], Callable[[], Look] | None] | None = None
    """What is looked at now and then, where that is not the policy's answers to the watched prompts."""
    trial: bool = True
    """Whether the longest rows can be tried beforehand; answers that are yet to be written cannot."""


def run(context: RunContext, recipe: Recipe) -> Metrics:
    """Trains, and returns the last step's metrics. Ends with StopRequested when the person asked."""
    quiet_libraries()
    return attempts.shrinking(context, lambda batch: _attempt(context, recipe, batch), least_rows=recipe.least_rows)


def _attempt(context: RunContext, recipe: Recipe, batch: Batch) -> Metrics:
    settings = context.job.settings
    newest = attempts.newest_checkpoint(context)
    dtype = str(model.working_dtype()).removeprefix("torch.")
    context.started(str(model.device()), dtype, newest.step if newest is not None else None)
    context.phase("loading the base")
    start = recipe.load(context.paths, context.job)
    context.phase("preparing the data")
    training, held_out = data.training_sets(
        context.paths.data, start.tokens, recipe.encode, longest_row(settings, start), context.note
    )
    arguments = trainer_arguments(settings, batch, context.paths.checkpoints)
    trainer = recipe.build(start, arguments, training, held_out)
    model.restore_precision(trainer.model, start)
    reporter = _attach(context, recipe, start, trainer)
    context.check_stop()
    trainer.train(resume_from_checkpoint=str(newest.path) if newest is not None else None)
    if reporter.stopped:
        raise StopRequested
    context.phase("saving the model")
    trainer.publisher.model(trainer)
    return reporter.last_metrics


def longest_row(settings: Mapping[str, Any], start: model.Start) -> int:
    """Tokens of the longest row: what the person set, and never more than the base was made to read."""
    wanted = int(settings["max_length"])
    return min(wanted, start.context) if start.context else wanted


def _attach(context: RunContext, recipe: Recipe, start: model.Start, trainer: Any) -> Reporter:
    """Connects a trainer with the run: its events, its checkpoints, its place on the disk."""
    publisher = saving.Publisher(context, start)
    trainer.publisher = publisher
    trainer.publish = publisher.checkpoint
    trained, total = model.count_parameters(trainer.model)
    saving.check_room(context.paths.root, trained, saving.frozen_bytes(trainer.model))
    check = recipe.check_start
    reporter = Reporter(
        context,
        counts={
            "examples": len(trainer.train_dataset),
            "held_out": len(trainer.eval_dataset) if trainer.eval_dataset is not None else 0,
            "trainable_parameters": trained,
            "total_parameters": total,
        },
        evaluate=trainer.evaluate if trainer.eval_dataset is not None else None,
        watch=_watch(context, recipe, start, trainer) if int(context.job.settings["watch_every"]) else None,
        before_first_step=(lambda: check(trainer)) if check is not None else None,
        trial=_trial(context, recipe, trainer),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(reporter)
    return reporter


def _trial(context: RunContext, recipe: Recipe, trainer: Any) -> Callable[[], None] | None:
    """What tries whether the longest rows fit, where that is worth it."""
    if not recipe.trial or trainer.args.device.type not in trial.DEVICES:
        return None

    def try_longest() -> None:
        context.phase("trying the longest rows")
        trial.go_through(trainer)

    return try_longest


def _watch(context: RunContext, recipe: Recipe, start: model.Start, trainer: Any) -> Callable[[], Look] | None:
    """What is looked at now and then, if there is anything."""
    if recipe.watch is not None:
        return recipe.watch(trainer, start)
    prompts = [row["prompt"] for row in data.read_rows(context.paths.data / "watch.jsonl")]
    return _watcher(trainer, start, prompts) if prompts else None


def _watcher(trainer: Any, start: model.Start, prompts: Sequence[Sequence[Mapping[str, str]]]) -> Callable[[], Look]:
    """Answers the watched prompts greedily with the model as it is. No random number is drawn."""
    ids = [start.tokens.prompt_ids(turns) for turns in prompts]
    rule = Rule(temperature=0, top_p=1, max_tokens=WATCHED_TOKENS, end_ids=tuple(start.tokens.end_ids))

    def watch() -> Look:
        was_training = trainer.model.training
        trainer.model.eval()
        with trainer.compute_loss_context_manager():
            answers = answer_all(trainer.model, ids, rule)
        trainer.model.train(was_training)
        return [
            [turns[-1]["content"], start.tokens.decode(answer.ids)]
            for turns, answer in zip(prompts, answers, strict=True)
        ]

    return watch
