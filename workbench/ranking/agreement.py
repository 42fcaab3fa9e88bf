"""How far a person's judgements can be trusted: agreement with oneself, a liking for one side, and what the votes say
of the sources. Pure arithmetic over rankings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from workbench.records import Ranking

LEAST_REPEATS = 30
"""Fewer repeats say nothing: at 50 the 95 % interval of kappa is still a third of its range wide."""

LEAST_VOTES = 20
"""Fewer votes give a side's share a margin above 22 points."""

Look = Sequence[tuple[str, str]]
"""A second look beside the first: (first, second) outcome of every two answers."""

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
    """How often one kind of answer won, such as the left or the longer one, of the votes that could tell."""

    won: int = 0
    votes: int = 0

    @property
    def share(self) -> float:
        return self.won / self.votes if self.votes else 0.5

    @property
    def margin(self) -> float:
        """Half the 95 % interval around one half: 0.098 at 100 votes."""
        return Z * sqrt(0.25 / self.votes) if self.votes else 0.5

    @property
    def flagged(self) -> bool:
        """Whether chance alone hardly explains it."""
        return self.votes >= LEAST_VOTES and abs(self.share - 0.5) > self.margin


def outcomes(ranking: Ranking) -> dict[tuple[int, int], str]:
    """What a vote says of every two completions shown, whichever places they had; nothing for a skip.

    The unordered rest of a K-way ballot counts as tied: the store does not tell it from answers tied on purpose.
    """
    if ranking.verdict == "skip":
        return {}
    place = {answer: at for at, tier in enumerate(ranking.tiers) for answer in tier}
    found = {}
    for older, newer in combinations(sorted(place), 2):
        better = "older" if place[older] < place[newer] else "newer" if place[newer] < place[older] else "tie"
        found[older, newer] = "both_bad" if ranking.verdict == "both_bad" else better
    return found


def left_won(ranking: Ranking) -> bool | None:
    """Whether the left answer won an A/B vote; None where no side did."""
    if len(ranking.shown) != 2 or ranking.verdict != "ranked":
        return None
    return ranking.tiers[0][0] == ranking.shown[0]


def compared(first: Ranking, second: Ranking) -> Look:
    """(first, second) outcome of every two completions that both looks judged."""
    again = outcomes(second)
    return [(outcome, again[two]) for two, outcome in outcomes(first).items() if two in again]


def kappa(looks: Sequence[Look]) -> Agreement | None:
    """Cohen's kappa over second looks, each an A/B vote (one outcome) or a K-way ballot (one for every two answers).

    kappa = (p_o - p_e) / (1 - p_e) (Cohen 1960). The outcomes within a ballot are not independent, so a look counts
    once, its outcomes sharing its weight, and the standard error is that of a mean over looks: sd(a) / (sqrt(n) (1 -
    p_e)) for shares a of outcomes that agree. For votes alone that is Cohen's sqrt(p_o (1 - p_o) / (n (1 - p_e)^2)).
    None under 30 looks.
    """
    n = len(looks)
    if n < LEAST_REPEATS:
        return None
    shares = np.array([sum(one == other for one, other in look) / len(look) for look in looks])
    firsts, seconds = _spread(looks, 0), _spread(looks, 1)
    observed = float(shares.mean())
    expected = sum(share * seconds.get(name, 0.0) for name, share in firsts.items())
    if expected > 1 - 1e-9:  # one answer throughout: it agrees, and chance would too
        return Agreement(1.0, 1.0, 1.0, n)
    value = (observed - expected) / (1 - expected)
    error = Z * float(shares.std()) / sqrt(n) / (1 - expected)
    return Agreement(value, max(-1.0, value - error), min(1.0, value + error), n)


def _spread(looks: Sequence[Look], which: int) -> Mapping[str, float]:
    """The share of each outcome among all first (0) or second (1) ones, every look weighing the same."""
    found: defaultdict[str, float] = defaultdict(float)
    for look in looks:
        for outcome in look:
            found[outcome[which]] += 1 / (len(look) * len(looks))
    return found


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
