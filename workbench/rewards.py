"""What reinforcement learning is rewarded for: a sum of reward models, rules and classifiers, written in one line.

    run:0004                         a reward model that this project trained
    rule:exact                       a rule of `judges/rules.py`
    classifier:org/toxicity#toxic    a classifier's log-odds of a label, or a one-number model's score
    run:0004 + 0.3*rule:brevity      a weighted sum of both

One line is one setting, so the form, a preset and `--set reward=…` can all say it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from workbench.errors import SettingError
from workbench.judges.rules import RULES

Kind = Literal["run", "rule", "classifier"]
KINDS: tuple[Kind, ...] = ("run", "rule", "classifier")

_TERM = re.compile(
    r"(?:(?P<weight>[-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*\*\s*)?(?:(?P<kind>[a-z]+):)?(?P<name>[^\s*+:][^*+:]*)"
)


@dataclass(frozen=True)
class Term:
    """One part of a reward, and how much it counts."""

    weight: float
    kind: Kind
    name: str

    @property
    def label(self) -> str:
        """The term without its weight: what its own score is called."""
        return f"{self.kind}:{self.name}"

    @property
    def needs_answer(self) -> bool:
        """Whether it says nothing of a prompt without a known answer."""
        return self.kind == "rule" and RULES[self.name].needs_answer

    def __str__(self) -> str:
        return self.label if self.weight == 1 else f"{self.weight:g}*{self.label}"


def parse(text: str) -> tuple[Term, ...]:
    """The terms of a reward; a SettingError where it cannot be read. A bare name is a run's."""
    terms = tuple(_term(part.strip()) for part in text.split(" + "))
    labels = [term.label for term in terms]
    for label in labels:
        if labels.count(label) > 1:
            weight = sum(term.weight for term in terms if term.label == label)
            raise SettingError(f"{label} is in the reward twice.", f"Name it once: {weight:g}*{label}")
    return terms


def written(terms: tuple[Term, ...]) -> str:
    """The terms as `parse` reads them."""
    return " + ".join(str(term) for term in terms)


def answerable(terms: Iterable[Term], rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The prompts that every term can say something of: a rule that compares needs a known answer."""
    if not any(term.needs_answer for term in terms):
        return list(rows)
    return [row for row in rows if row.get("answer")]


def _term(text: str) -> Term:
    found = _TERM.fullmatch(text)
    if found is None or (found["kind"] or "run") not in KINDS:
        raise SettingError(
            f"{text!r} is not a reward.",
            "Name a reward model's run or a rule, with a weight if you like: run:0004 + 0.3*rule:exact",
        )
    try:
        weight = float(found["weight"] or 1)
        if not math.isfinite(weight):
            raise ValueError
    except ValueError:
        raise SettingError(f"{found['weight']!r} is not a weight.", "Write a number: 0.3*rule:exact") from None
    term = Term(weight, cast(Kind, found["kind"] or "run"), found["name"].strip())
    if term.kind == "rule" and term.name not in RULES:
        raise _no_such_rule(term.name)
    return term


def _no_such_rule(name: str) -> SettingError:
    near = difflib.get_close_matches(name, RULES, n=1)
    known = ", ".join(f"rule:{rule}" for rule in RULES)
    return SettingError(
        f"There is no rule called {name!r}.", f"Did you mean rule:{near[0]}?" if near else f"There are: {known}."
    )
