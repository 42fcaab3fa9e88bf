"""Whether a reward model's margins can be taken at their word: does a margin of m win sigma(m) of the time?

Pure arithmetic over margins r(better) - r(worse). By Bradley and Terry's model the higher-scored of two answers is the
better one with probability sigma(|m|): that is what the model claims, and how often it is so is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, fsum, sqrt

EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Bins of the claimed probability. Below one half nothing can be claimed: the lower-scored answer is never named."""

LEAST_PAIRS = 20
"""Fewer held-out pairs say too little for a verdict: at 20 the standard error of an accuracy of 0.8 is 9 points."""

OFF = 0.05
"""Margins whose claims are off by less than this on the whole are called honest."""


@dataclass(frozen=True)
class Bin:
    """Pairs whose claims lie between two edges: how many, what was claimed on average, and how often it was so."""

    low: float
    high: float
    pairs: int
    claimed: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """A reward model against pairs that it has not seen."""

    pairs: int
    accuracy: float
    """Share of the pairs whose better answer scores higher; equal scores count half."""
    claimed: float
    """The accuracy that the margins claim."""
    error: float
    """Expected calibration error (Guo et al. 2017, eq. 3): the bins' distances of claim and truth, weighted."""
    bins: tuple[Bin, ...] = ()
    """The reliability table; empty bins are left out."""

    @property
    def sentence(self) -> str:
        """The accuracy and what margins are worth, in words."""
        told = f"Held out, the better answer scores higher in {self.accuracy:.0%} of {self.pairs:,} pairs."
        if self.pairs < LEAST_PAIRS:
            return f"{told} That is too few to say more."
        surplus = self.claimed - self.accuracy
        chance = sqrt(max(self.accuracy * (1 - self.accuracy), 1e-9) / self.pairs)
        if abs(surplus) <= max(OFF, 2 * chance):
            return f"{told} Its margins can be taken at their word: they claim {self.claimed:.0%}."
        how = "too sure of itself" if surplus > 0 else "better than it says"
        return f"{told} It is {how}: its margins claim {self.claimed:.0%}."

    @property
    def table(self) -> str:
        """The reliability table on a line: `says 50-60% → right 57% (40 pairs)`."""
        return " · ".join(
            f"says {100 * b.low:.0f}-{b.high:.0%} → right {b.right:.0%} ({b.pairs:,} pair{'s' if b.pairs > 1 else ''})"
            for b in self.bins
        )


def calibrate(margins: Sequence[float]) -> Calibration | None:
    """The figures of these margins; None of none."""
    if not margins:
        return None
    claims = [1 / (1 + exp(-abs(margin))) for margin in margins]
    right = [0.5 if margin == 0 else float(margin > 0) for margin in margins]
    bins = []
    for low, high in pairwise(EDGES):
        inside = [at for at, claim in enumerate(claims) if low <= claim < high or claim == high == EDGES[-1]]
        if inside:
            claimed = fsum(claims[at] for at in inside) / len(inside)
            bins.append(Bin(low, high, len(inside), claimed, fsum(right[at] for at in inside) / len(inside)))
    count = len(margins)
    error = fsum(b.pairs * abs(b.claimed - b.right) for b in bins) / count
    return Calibration(count, fsum(right) / count, fsum(claims) / count, error, tuple(bins))
