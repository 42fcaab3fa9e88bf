"""Reward models: a scalar r(x, y) learnt from rankings, with which answers are scored, judged and reinforced.

Data: a prompt, K answers to it (K differs from row to row) and one or more rankings of them in tiers, best first. All
answers of a prompt are one batch element, so each goes through the model once a pass however often it was compared
(Ouyang et al. 2022, section 3.5), and prompts, not pairs, are held out. Losses, with r_i = r(x, y_i):

- `bradley_terry`: the mean of -log sigmoid(r_w - r_l - m) over the pairs of a ranking, w in a higher tier than l
  (Bradley & Terry 1952). The margin m is an option (Touvron et al. 2023, eq. 2).
- `kwise`: one choice b among K, -log( exp r_b / sum_i exp r_i ) (Luce 1959; McFadden 1974). b is the top tier.
- `plackett_luce`: a whole ranking as choices one after the other, sum over places i of
  -log( exp r_i / sum_{j at i or below} exp r_j ) (Plackett 1975).

Each is a sum of choices of one answer from a set, so with K = 2 all three are the same number. To any of them
c * (2 * mean_i r_i)^2 may be added, which keeps rewards around zero; with K = 2 it is TRL's c * (r_w + r_l)^2
(Eisenstein et al. 2023, eq. 2).

Ties: answers that share a tier (a tie, or the unordered rest of a ballot) are never compared with each other. In
Plackett-Luce each member i of a tier is chosen from {i} and the tiers below, its mates left out; in the K-wise loss
each member of the top tier likewise, and the row's loss is their mean. A row that is one tie teaches nothing and is
left out. "Both bad", and every answer marked unacceptable: it shares the last tier with the others so marked, whatever
its place. Where a text stands in two tiers its higher place counts. Several rankings of a prompt count as their mean.

Departures from TRL's RewardTrainer: rows come as tokens from `workbench.tokens`; the head starts at zero and stays in
fp32, so that the first loss is known (ln 2 for pairs) and checked; the reward is read at the last token by position, so
a tokenizer that pads with its end token changes nothing; an answer longer than `max_length` is left out, never cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from workbench.errors import SettingError, StartingPointError
from workbench.fields import Field, Value
from workbench.methods import Method, Panel
from workbench.methods.shared import JUDGES

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.worker.context import RunContext

Tiers = Sequence[Sequence[int]]
"""One ranking: places of answers in their row, best tier first."""

STARTING_TOLERANCE = 1e-4
"""How far the first loss may be from its known value: fp32 arithmetic strays by 1e-6, a wrong head by more."""

METHOD = Method(
    name="reward",
    label="Reward model",
    summary="Learns to score answers from rankings: choose it before PPO, or to have a judge that never tires.",
    needs="rankings",
    makes="reward model",
    fields=(
        Field(
            "loss_type",
            "plackett_luce",
            "Loss",
            "plackett_luce: the whole order of the answers, which learns most from each ranking. kwise: only which "
            "was best. bradley_terry: every pair by itself, as published ones mostly do. Equal for two answers.",
            choices=("plackett_luce", "kwise", "bradley_terry"),
            group="reward",
        ),
        Field(
            "margin",
            0.0,
            "Margin",
            "With bradley_terry: the better answer must win by this much before the loss lets go. 0: any lead counts.",
            low=0.0,
            high=10,
            group="reward",
            advanced=True,
        ),
        Field(
            "centring",
            0.01,
            "Centring",
            "Pulls each prompt's rewards towards zero on average, so that scores of different prompts can be compared. "
            "0: never.",
            low=0.0,
            high=10,
            group="reward",
            advanced=True,
        ),
        JUDGES,
    ),
    panels=(
        Panel("Loss", ("loss",)),
        Panel("Pairs told apart", ("pair_accuracy",)),
        Panel("Reward", ("reward_mean", "reward_spread")),
        Panel("Margin of the better answer", ("reward_margin",)),
        Panel("Calibration error", ("calibration_error",)),
    ),
    defaults={"learning_rate": 1e-4, "held_out": 0.1},
)


@dataclass(frozen=True)
class Choice:
    """One answer taken from a set: the taken one first, then those it was preferred to, and what it counts."""

    members: tuple[int, ...]
    weight: float

    def without(self, lost: set[int]) -> Choice | None:
        """The choice without answers that are too long; None where nothing is left to choose."""
        if self.members[0] in lost:
            return None
        kept = tuple(member for member in self.members if member not in lost)
        return Choice(kept, self.weight) if len(kept) > 1 else None


def choices(rankings: Sequence[Tiers], loss_type: str) -> list[Choice]:
    """A row's loss as weighted choices: the mean over its rankings of their losses."""
    found: list[Choice] = []
    for tiers in rankings:
        found += [Choice(c.members, c.weight / len(rankings)) for c in _choices(tiers, loss_type)]
    return found


def _choices(tiers: Tiers, loss_type: str) -> list[Choice]:
    if loss_type == "bradley_terry":
        pairs = list(pairs_of(tiers))
        return [Choice(pair, 1 / len(pairs)) for pair in pairs]
    taken = tiers[:1] if loss_type == "kwise" else tiers
    weight = 1 / len(tiers[0]) if loss_type == "kwise" else 1.0
    made = []
    for place, tier in enumerate(taken):
        below = tuple(answer for lower in tiers[place + 1 :] for answer in lower)
        made += [Choice((answer, *below), weight) for answer in tier if below]
    return made


def pairs_of(tiers: Tiers) -> Iterator[tuple[int, int]]:
    """(better, worse) of every two answers in different tiers."""
    for upper, lower in combinations(tiers, 2):
        yield from ((better, worse) for better in upper for worse in lower)


def starting_loss(rows: Sequence[Sequence[Choice]], margin: float) -> float:
    """The mean loss of rows where every reward is 0: log(1 + (n - 1) e^m) for a choice from n, ln 2 for a pair."""
    losses = [sum(c.weight * math.log1p((len(c.members) - 1) * math.exp(margin)) for c in row) for row in rows]
    return sum(losses) / len(losses)


def check_starting_point(loss: float, expected: float) -> None:
    """A StartingPointError where a first loss is not that of a head that is zero."""
    if not abs(loss - expected) <= STARTING_TOLERANCE * max(1.0, expected):
        raise StartingPointError(
            f"The reward head does not start at zero: the first loss is {loss:.4f}, not {expected:.4f}.",
            "The parent's files may have changed since the run was ordered. Order it again; if that does not help, "
            "start from the base.",
        )


def check_settings(settings: dict[str, Value]) -> None:
    """A SettingError for a combination that would be silently ignored."""
    if float(settings["margin"]) > 0 and settings["loss_type"] != "bradley_terry":
        raise SettingError(
            f"margin has no effect on the {settings['loss_type']} loss.",
            "Set loss_type=bradley_terry, or leave it at 0.",
        )


def train(context: RunContext) -> Metrics:
    """Runs the job of `context`, and returns the last step's metrics."""
    from workbench.worker import reward_training

    check_settings(context.job.settings)
    return reward_training.run(context)
