"""How far a person's judgements can be trusted: agreement with oneself, a liking for one side, and what the votes say
of the sources. Pure arithmetic over rankings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from workbench.records import Ranking

LEAST_REPEATS = 30
"""Fewer repeats say nothing: at 50 the 95 % interval of kappa is still a third of its range wide."""

LEAST_VOTES = 20
"""Fewer votes give a side's share a margin above 22 points."""

Z = 1.96
"""95 % of a normal distribution lies within so many standard errors."""


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa between a person's first and second look, with its 95 % interval."""

    kappa: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True)
class Bias:
    """How often the left answer won, of the votes that named a winner."""

    left: int
    votes: int

    @property
    def share(self) -> float:
        return self.left / self.votes if self.votes else 0.5

    @property
    def margin(self) -> float:
        """Half the 95 % interval around one half: 0.098 at 100 votes."""
        return Z * sqrt(0.25 / self.votes) if self.votes else 0.5

    @property
    def flagged(self) -> bool:
        """Whether chance alone hardly explains it."""
        return self.votes >= LEAST_VOTES and abs(self.share - 0.5) > self.margin


def outcome(ranking: Ranking) -> str:
    """What an A/B vote says of the two completions, whichever side they were on; '' for a skip or a K-way ballot."""
    if len(ranking.shown) != 2 or ranking.verdict == "skip":
        return ""
    if ranking.verdict != "ranked":
        return ranking.verdict
    return "older" if ranking.tiers[0][0] == min(ranking.shown) else "newer"


def left_won(ranking: Ranking) -> bool | None:
    """Whether the left answer won an A/B vote; None where no side did."""
    if outcome(ranking) not in ("older", "newer"):
        return None
    return ranking.tiers[0][0] == ranking.shown[0]


def kappa(looks: Sequence[tuple[str, str]]) -> Agreement | None:
    """Cohen's kappa of (first, second) outcomes, or None under 30 repeats.

    kappa = (p_o - p_e) / (1 - p_e), with the large-sample standard error sqrt(p_o (1 - p_o) / (n (1 - p_e)^2))
    (Cohen 1960).
    """
    n = len(looks)
    if n < LEAST_REPEATS:
        return None
    observed = sum(first == second for first, second in looks) / n
    firsts, seconds = Counter(first for first, _ in looks), Counter(second for _, second in looks)
    expected = sum(firsts[name] * seconds[name] for name in firsts) / n**2
    if expected == 1.0:  # one answer throughout: it agrees, and chance would too
        return Agreement(1.0, 1.0, 1.0, n)
    value = (observed - expected) / (1 - expected)
    error = Z * sqrt(observed * (1 - observed) / n) / (1 - expected)
    return Agreement(value, max(-1.0, value - error), min(1.0, value + error), n)


@dataclass(frozen=True)
class Standing:
    """A source's Bradley-Terry strength in log-odds against the average source, and its 95 % half interval."""

    source: str
    strength: float
    margin: float
    votes: int


def standings(votes: Iterable[tuple[str, str, float]], rounds: int = 200) -> list[Standing]:
    """Sources by Bradley-Terry strength, best first, from (source, other, share of a win for the first) votes.

    Maximum likelihood by Hunter's minorise-maximise steps (2004), with half a win each way between any two sources so
    that an unbeaten one stays finite. A tie is half a win for both.
    """
    counted = [(a, b, share) for a, b, share in votes if a != b]
    sources = sorted({name for a, b, _ in counted for name in (a, b)})
    if len(sources) < 2:
        return []
    wins: NDArray[np.float64] = np.full((len(sources), len(sources)), 0.5)  # (S, S): row beat column
    np.fill_diagonal(wins, 0.0)
    place = {name: index for index, name in enumerate(sources)}
    for a, b, share in counted:
        wins[place[a], place[b]] += share
        wins[place[b], place[a]] += 1 - share
    games = wins + wins.T
    p = np.ones(len(sources))
    for _ in range(rounds):
        p = wins.sum(axis=1) / (games / (p[:, None] + p[None, :])).sum(axis=1)
        p /= np.exp(np.log(p).mean())
    chance = p[:, None] / (p[:, None] + p[None, :])
    information = (games * chance * (1 - chance)).sum(axis=1)
    seen = Counter(name for a, b, _ in counted for name in (a, b))
    table = [
        Standing(name, float(np.log(p[i])), float(Z / np.sqrt(information[i])), seen[name])
        for i, name in enumerate(sources)
    ]
    return sorted(table, key=lambda row: -row.strength)
