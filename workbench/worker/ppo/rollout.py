"""Rollouts: which prompts a step asks, and the policy's answers to them.

Nothing here has a state to save. The order of the prompts follows from the seed and the step, and each answer is drawn
with a generator of its own, from the seed, the step and its place: a resumed run samples the same texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench import rewards
from workbench.errors import RunError, SettingError
from workbench.rewards import Term
from workbench.tokens import ChatTokens
from workbench.worker import batches
from workbench.worker.context import RunContext
from workbench.worker.data import read_rows
from workbench.worker.decoding import Rule

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """Prompts as rows of the run and as token ids."""

    rows: list[Row]
    ids: list[list[int]]

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, places: Sequence[int]) -> Asked:
        return Asked([self.rows[place] for place in places], [self.ids[place] for place in places])

    def of_step(self, step: int, count: int, seed: int) -> Asked:
        """The prompts of a step (from 1): all of them in a random order, then all in another, and so on."""
        first = (step - 1) * count
        places: list[int] = []
        for number in range(first // len(self), (first + count - 1) // len(self) + 1):
            places += np.random.default_rng([seed, number, 0, 2]).permutation(len(self)).tolist()
        skipped = first % len(self)
        return self.at(places[skipped : skipped + count])


@dataclass(frozen=True)
class Rollout:
    """Answers to prompts, N of them. An answer's ids hold the end token where it ended by itself."""

    asked: Asked
    answers: list[list[int]]
    ended: list[bool]
    texts: list[str]
    logps: list[list[float]]
    """Of each token as it was sampled, where that was asked for."""

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return max(map(len, self.answers))

    @property
    def conversations(self) -> list[list[int]]:
        """Token ids of prompts with their answers."""
        return [[*prompt, *answer] for prompt, answer in zip(self.asked.ids, self.answers, strict=True)]


def prompts(context: RunContext, tokens: ChatTokens, name: str, terms: Sequence[Term], longest: int) -> Asked:
    """The prompts of one of the run's data files that leave room for an answer, and that the reward can judge."""
    rows = read_rows(context.paths.data / name)
    judged = rewards.answerable(terms, rows)
    if len(judged) < len(rows):
        which = ", ".join(term.label for term in terms if term.needs_answer)
        context.note(f"{len(rows) - len(judged)} prompts of {name} have no known answer for {which}: left out.")
    found = [(row, tokens.prompt_ids(row["prompt"])) for row in judged]
    fitting = [(row, ids) for row, ids in found if len(ids) <= longest]
    if len(fitting) < len(found):
        context.note(
            f"{len(found) - len(fitting)} prompts of {name} are longer than {longest} tokens and are left out: raise "
            "max_length.",
            "warning",
        )
    return Asked([row for row, _ in fitting], [ids for _, ids in fitting])


def room_for_prompts(settings: Mapping[str, Any], context_tokens: int) -> int:
    """Tokens that a prompt may have beside the longest answer; a SettingError where none are left."""
    wanted, answer = int(settings["max_length"]), int(settings["max_tokens"])
    longest = min(wanted, context_tokens) if context_tokens else wanted
    if longest <= answer:
        raise SettingError(
            f"An answer of {answer} tokens leaves no room for a prompt in {longest} tokens.",
            "Lower max_tokens or raise max_length.",
        )
    return longest - answer


def check_any(asked: Asked) -> None:
    """A RunError where there is nothing to ask."""
    if not asked.rows:
        raise RunError(
            "There is no prompt to train on: all are too long, or the reward needs answers that they do not have.",
            "Raise max_length, import prompts with answers, or reward with something else: --set reward=rule:brevity",
        )


class Writer:
    """Lets the policy write answers, as many at once as memory holds."""

    def __init__(self, context: RunContext, model: Any, tokens: ChatTokens, rule: Rule, at_once: int) -> None:
        self.context = context
        self.model = model
        self.tokens = tokens
        self.rule = rule
        self.at_once = at_once

    def likeliest(self, asked: Asked) -> Rollout:
        """The likeliest answer to each prompt. Is not interrupted: a measurement is whole."""
        return self._written(asked, Rule(0.0, 1.0, self.rule.max_tokens, self.rule.end_ids), None, lambda: False, False)

    def rollout(
        self, asked: Asked, generator_of: Callable[[int], np.random.Generator], *, with_logps: bool = False
    ) -> Rollout:
        """An answer to each prompt, drawn with its own generator. Raises Interrupted when the person asks to stop."""
        return self._written(asked, self.rule, generator_of, self.context.stop_requested, with_logps)

    def _written(
        self,
        asked: Asked,
        rule: Rule,
        generator_of: Callable[[int], np.random.Generator] | None,
        should_stop: Callable[[], bool],
        with_logps: bool,
    ) -> Rollout:
        written, self.at_once = batches.answers(
            self.context, self.model, asked.ids, rule, generator_of, self.at_once, should_stop, with_logps=with_logps
        )
        return Rollout(
            asked,
            [[*a.ids, a.end] if a.end is not None else a.ids for a in written],
            [a.ended for a in written],
            [self.tokens.decode(a.ids) for a in written],
            [a.logps for a in written],
        )
