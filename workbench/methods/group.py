"""What GRPO and RLOO share: groups of answers to one prompt, each rewarded against the others. Not a method itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.errors import RunError, SettingError
from workbench.fields import Field, Value
from workbench.methods import Panel
from workbench.methods.shared import WHOLE

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

PANELS = (
    Panel("Reward", ("reward",)),
    Panel("KL from the start, nats an answer", ("kl",)),
    Panel("Answer length, tokens", ("length",)),
    Panel("Answers that end", ("stopped",)),
    Panel("Entropy, nats a token", ("entropy",)),
    Panel("Groups without a difference", ("even_groups",)),
    Panel("Clipped", ("clip_fraction",)),
    Panel("Seconds", ("rollout_seconds", "score_seconds", "update_seconds")),
)


DEFAULTS: dict[str, Value] = {
    "learning_rate": 1e-5,
    "schedule": "constant",
    "warmup": 0.0,
    "micro_batch": 2,
    "accumulation": 32,
    "watch_every": 10,
    "eval_every": 10,
    "save_every": 10,
}
"""64 answers a step, eight prompts of eight: fewer make the advantages too noisy. Its steps are long and few, so it
looks, measures and saves more often; a rate that falls would only end the learning early."""


def fields(method: str, beta: float, beta_help: str) -> tuple[Field, ...]:
    """The fields of a method that learns from groups."""
    return (
        Field(
            "reward",
            "rule:exact",
            "Reward",
            "What an answer is worth: a reward model by its run (run:0004), a rule (rule:exact), or a weighted sum "
            "(run:0004 + 0.3*rule:brevity). workbench train --help lists the rules.",
            group=method,
        ),
        Field(
            "group",
            8,
            "Answers a prompt",
            "How many answers to a prompt are held against each other. More measure each one's worth better and take "
            "as much longer. Micro-batch × accumulation must be a multiple of it.",
            low=2,
            high=256,
            group=method,
        ),
        Field(
            "max_tokens",
            256,
            "Longest answer",
            "Tokens after which an answer is cut. Most of the time goes into writing them.",
            low=1,
            high=32_768,
            unit="tokens",
            group=method,
        ),
        Field("beta", beta, "Beta", beta_help, low=0.0, high=10.0, group=method),
        Field(
            "temperature",
            1.0,
            "Temperature",
            "How boldly answers are drawn. Below 0.7 the answers of a group are too alike to learn from.",
            low=0.01,
            high=5.0,
            group=method,
            advanced=True,
        ),
        Field(
            "iterations",
            1,
            "Steps a rollout",
            "How many steps are made on the same answers. 2 saves a good part of the time where writing is slow, and "
            "learns a little less surely.",
            low=1,
            high=16,
            group=method,
            advanced=True,
        ),
        Field(
            "ratio_clip",
            0.2,
            "Ratio clip",
            "How far an answer's likelihood may move before its pull ends. It matters from two steps a rollout on.",
            low=0.01,
            high=10.0,
            group=method,
            advanced=True,
        ),
    )


def check_settings(settings: Mapping[str, Any]) -> None:
    """A SettingError where a step would hold parts of groups, or an answer no room."""
    rows, group = int(settings["micro_batch"]) * int(settings["accumulation"]), int(settings["group"])
    if rows % group:
        raise SettingError(
            f"A step of {rows} answers holds no whole groups of {group}.",
            f"Make micro_batch × accumulation a multiple of {group}, for example accumulation="
            f"{_next_multiple(int(settings['micro_batch']), int(settings['accumulation']), group)}.",
        )
    if int(settings["max_tokens"]) >= int(settings["max_length"]):
        raise SettingError(
            f"Answers of {settings['max_tokens']} tokens leave no room for a prompt in {settings['max_length']}.",
            "Lower max_tokens, or raise max_length: it counts prompt and answer together.",
        )


def _next_multiple(micro: int, accumulation: int, group: int) -> int:
    """The smallest accumulation from the given one on with which a step holds whole groups."""
    while micro * accumulation % group:
        accumulation += 1
    return accumulation


def arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments that GRPOConfig and RLOOConfig have in common, and no Trainer else."""
    return {
        "num_generations": int(settings["group"]),
        "num_generations_eval": 1,
        "max_completion_length": int(settings["max_tokens"]),
        "temperature": float(settings["temperature"]),
        "num_iterations": int(settings["iterations"]),
        "epsilon": float(settings["ratio_clip"]),
        "disable_dropout": True,  # the ratio is 1 only where both passes see the same network
    }


def train(context: RunContext, make: Callable[..., Any]) -> Metrics:
    """Runs the job of `context`. `make` makes the trainer of its keyword arguments, the Trainer's arguments apart."""
    from workbench import rewards
    from workbench.worker import data, group_start, groups, training
    from workbench.worker.callback import Look
    from workbench.worker.decoding import Rule
    from workbench.worker.rewards import Rewards

    settings = context.job.settings
    check_settings(settings)
    terms = rewards.parse(str(settings["reward"]))
    whole = settings["how"] in WHOLE
    beta = float(settings["beta"])
    longest = int(settings["max_tokens"])

    def encode(tokens: Any, row: data.Row, max_length: int) -> dict[str, Any] | None:
        return data.prompt_row(tokens, row, max_length - longest)

    def build(start: Any, given: dict[str, Any], rows: Any, held_out: Any) -> Any:
        reference = copy.deepcopy(start.model) if whole and beta else None
        reward = groups.Reward(start.tokens)
        trainer = make(
            {**given, **arguments(settings), "beta": 0.0 if whole else beta},
            model=start.model,
            peft_config=start.peft_config,
            processing_class=start.tokenizer,
            reward_funcs=reward,
            train_dataset=_answerable(context, rows, terms, _prompts_a_step(settings)),
            eval_dataset=_answerable(context, held_out, terms, 0) if held_out is not None else None,
        )
        trainer.eos_token_ids = list(start.tokens.end_ids)
        rule = Rule(float(settings["temperature"]), 1.0, longest, tuple(start.tokens.end_ids))
        trainer.rollout = groups.Rollout(context, start.tokens, rule, int(settings["seed"]))
        groups.count_positions(trainer.model)
        if reference is not None:
            groups.hold_against(trainer, reference, beta)
        reward.rewards = Rewards(context, trainer.model, start.tokens)
        return trainer

    def watch(trainer: Any, start: Any) -> Callable[[], Look] | None:
        return groups.watcher(trainer, trainer.reward_funcs[0])

    return training.run(context, training.Recipe(build, encode, group_start.check, watch=watch, trial=False))


def _prompts_a_step(settings: Mapping[str, Any]) -> int:
    return int(settings["micro_batch"]) * int(settings["accumulation"]) // int(settings["group"])


def _answerable(context: RunContext, rows: Any, terms: Any, least: int) -> Any:
    """The prompts that the reward can say something of; a RunError where they do not fill a step."""
    if any(term.needs_answer for term in terms):
        kept = rows.filter(lambda row: bool(row["answer"]))
        if least and len(kept) < len(rows):
            context.note(
                f"{len(rows) - len(kept)} prompts have no known answer, which the reward needs, and are left out."
            )
        rows = kept
    if len(rows) < least:
        raise RunError(
            f"There are {len(rows)} prompts that the reward can judge, and a step takes {least}.",
            "Import prompts with answers, name a reward that needs none, or make micro_batch × accumulation smaller.",
        )
    return rows if len(rows) else None
