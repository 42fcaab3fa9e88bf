"""What reinforcement learning is rewarded for: a sum of reward models, rules and classifiers, written in one line.

    run:0004                         a reward model that this project trained
    rule:exact                       a rule of `judges/rules.py`
    run:0004 + 0.3*rule:brevity      a weighted sum of both

One line is one setting, so the form, a preset and `--set reward=…` can all say it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from workbench.errors import SettingError

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

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.weight == 1 else f"{self.weight:g}*{self.kind}:{self.name}"


def parse(text: str) -> tuple[Term, ...]:
    """The terms of a reward; a SettingError where it cannot be read. A bare name is a run's."""
    return tuple(_term(part.strip()) for part in text.split(" + "))


def written(terms: tuple[Term, ...]) -> str:
    """The terms as `parse` reads them."""
    return " + ".join(str(term) for term in terms)


def _term(text: str) -> Term:
    found = _TERM.fullmatch(text)
    if found is None or (found["kind"] or "run") not in KINDS:
        raise SettingError(
            f"{text!r} is not a reward.",
            "Name a reward model's run or a rule, with a weight if you like: run:0004 + 0.3*rule:exact",
        )
    try:
        weight = float(found["weight"] or 1)
    except ValueError:
        raise SettingError(f"{found['weight']!r} is not a weight.", "Write a number: 0.3*rule:exact") from None
    return Term(weight, cast(Kind, found["kind"] or "run"), found["name"].strip())
