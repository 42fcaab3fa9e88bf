"""What single keys make of a ranking: the order of a K-way ballot as it grows, and the guards that keep a held key,
a key meant for the pair before, or a twitch from becoming a vote. Pure; the clock is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Clock = Callable[[], float]
"""Seconds from some start, never backwards."""

DRAWN_SECONDS = 0.300
"""A vote sooner than this after a pair was drawn was meant for the pair before."""

SILENCE_SECONDS = 0.120
"""A terminal cannot tell a repeat from a press; held keys repeat every 30-50 ms, fingers hardly below 120 ms."""

LETTERS = "abcdef"
"""Names of a K-way ballot's answers."""


class Guard:
    """Says whether a key may vote now."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._drawn = clock()
        self._key = ""
        self._pressed = float("-inf")

    def drawn(self) -> None:
        """A pair has just been drawn."""
        self._drawn = self.clock()

    def repeats(self, key: str) -> bool:
        """Whether `key` is held down; every press of it starts its silence anew."""
        now = self.clock()
        held = key == self._key and now - self._pressed < SILENCE_SECONDS
        self._key, self._pressed = key, now
        return held

    def allows(self, key: str) -> bool:
        """Whether `key` is a vote: pressed anew, on a pair that one has had the time to see."""
        return not self.repeats(key) and self.clock() - self._drawn >= DRAWN_SECONDS


@dataclass
class Ballot:
    """An order of `count` answers, best first, as it is pressed. Answers are their places on screen: 0 is A."""

    count: int
    tiers: list[list[int]] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)
    """Answers marked unacceptable, whatever their place."""
    pending: Literal["", "tie", "bad"] = ""
    """What the next letter does: take the next place, tie with the last one, or be marked."""

    @property
    def placed(self) -> list[int]:
        return [answer for tier in self.tiers for answer in tier]

    @property
    def complete(self) -> bool:
        return len(self.placed) == self.count

    @property
    def rest(self) -> list[int]:
        """Answers without a place yet."""
        return [answer for answer in range(self.count) if answer not in self.placed]

    def press(self, answer: int) -> bool:
        """Gives the answer the next place, ties or marks it, as `pending` says; False where it cannot."""
        pending, self.pending = self.pending, ""
        if not 0 <= answer < self.count:
            return False
        if pending == "bad":
            self.bad ^= {answer}
            return True
        if answer in self.placed:
            return False
        if pending == "tie" and self.tiers:
            self.tiers[-1].append(answer)
        else:
            self.tiers.append([answer])
        return True

    def tie(self) -> bool:
        """The next letter ties with the last one placed; False where there is none yet."""
        if not self.tiers:
            return False
        self.pending = "" if self.pending == "tie" else "tie"
        return True

    def mark(self) -> None:
        """The next letter is marked unacceptable (or no longer)."""
        self.pending = "" if self.pending == "bad" else "bad"

    def back(self) -> bool:
        """Takes the last letter back; False where there is none."""
        if self.pending:
            self.pending = ""
            return True
        if not self.tiers:
            return False
        self.tiers[-1].pop()
        if not self.tiers[-1]:
            self.tiers.pop()
        return True

    def move(self, answer: int, down: bool) -> bool:
        """Swaps a placed answer's tier with the one below or above; an answer without a place gets the next one."""
        if answer in self.rest:
            self.pending = ""
            return self.press(answer)
        place = next(index for index, tier in enumerate(self.tiers) if answer in tier)
        other = place + (1 if down else -1)
        if not 0 <= other < len(self.tiers):
            return False
        self.tiers[place], self.tiers[other] = self.tiers[other], self.tiers[place]
        return True

    def whole(self) -> list[list[int]]:
        """The tiers with the answers that have no place as the last one: worse than all, unordered among themselves."""
        return [*(list(tier) for tier in self.tiers), *([self.rest] if self.rest else [])]

    def text(self) -> str:
        """The order as pressed: `C > A = D`."""
        return " > ".join(" = ".join(LETTERS[answer].upper() for answer in tier) for tier in self.tiers)
