"""What a person has decided so far, in memory, with the figures over it brought up to date at every decision."""

from __future__ import annotations

from statistics import median

from workbench.ranking.agreement import Agreement, Bias, Look, compared, kappa, left_won
from workbench.records import PERSON, REPEAT, Ranking, Verdict

RECENT_VOTES = 200
"""Votes that the usual time to a vote is taken from."""


class Decisions:
    """The decisions that stand, oldest first, skips and second looks too."""

    def __init__(self) -> None:
        self.history: list[Ranking] = []
        self.by_prompt: dict[int, Verdict] = {}
        """The verdict on every prompt with a decision."""
        self.done = 0
        """Prompts judged."""
        self.looked_twice: dict[frozenset[int], Ranking] = {}
        """Second looks, by the answers they were at."""
        self._left = 0
        self._votes = 0
        self._agreement: Agreement | None = None
        self._agreement_of = 0

    def add(self, ranking: Ranking) -> None:
        self.history.append(ranking)
        self._tally(ranking, 1)
        if ranking.judge == REPEAT:
            self.looked_twice[frozenset(ranking.shown)] = ranking
        else:
            self.by_prompt[ranking.prompt_id] = ranking.verdict

    def remove(self, ranking: Ranking) -> None:
        """Takes a decision out; the newest are found soonest."""
        at = next(at for at in range(len(self.history) - 1, -1, -1) if self.history[at].id == ranking.id)
        del self.history[at]
        self._tally(ranking, -1)
        self._agreement_of = 0
        if ranking.judge == REPEAT:
            self.looked_twice.pop(frozenset(ranking.shown), None)
        else:
            self.by_prompt.pop(ranking.prompt_id, None)

    def _tally(self, ranking: Ranking, by: int) -> None:
        won = left_won(ranking)
        self._votes += by * (won is not None)
        self._left += by * (won is True)
        self.done += by * (ranking.judge == PERSON and ranking.verdict != "skip")

    def first_look(self, shown: tuple[int, ...]) -> Ranking | None:
        """The person's own vote on the same answers."""
        wanted = set(shown)
        return next((r for r in self.history if r.judge == PERSON and set(r.shown) == wanted), None)

    @property
    def skips(self) -> list[Ranking]:
        if "skip" not in self.by_prompt.values():
            return []
        return [ranking for ranking in self.history if ranking.verdict == "skip"]

    @property
    def bias(self) -> Bias:
        return Bias(self._left, self._votes)

    @property
    def repeats(self) -> int:
        return len(self.looked_twice)

    @property
    def agreement(self) -> Agreement | None:
        """Agreement of second looks with first ones; None under thirty. Worked out again when there is another."""
        if self._agreement_of != self.repeats:
            self._agreement = kappa(self.looks())
            self._agreement_of = self.repeats
        return self._agreement if self.repeats else None

    def looks(self) -> list[Look]:
        """Outcomes of everything looked at twice, first and second."""
        again = self.looked_twice
        first = {key: r for r in self.history if r.judge == PERSON and (key := frozenset(r.shown)) in again}
        found = [compared(first[key], second) for key, second in again.items() if key in first]
        return [look for look in found if look]

    @property
    def median_seconds(self) -> float | None:
        """The usual time to a vote lately; None before the first."""
        times = [r.seconds for r in self.history[-RECENT_VOTES:] if r.verdict != "skip" and r.seconds > 0]
        return median(times) if times else None
