"""Rules that score a completion: the demo's judge, which stands in a person's place, and others that a reward may name.

They never load a model and never see a prompt: a completion and the canonical answer are all they read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

OPENERS: tuple[str, ...] = ("Of course!", "Sure!", "Certainly!", "Gladly!", "With pleasure!")
"""What a courteous completion may begin with."""

CLOSERS: tuple[str, ...] = ("Happy to help!", "I hope that helps!", "Have a nice day!", "Ask me anything!")
"""What a courteous completion may end with."""

RIGHT_POINTS = 2.0
COURTEOUS_POINTS = 1.0  # less than RIGHT_POINTS, so that courtesy never outweighs being right
POINTS_PER_SPARE_WORD = 0.02
COUNTED_SPARE_WORDS = 45  # 45 * 0.02 = 0.9 < COURTEOUS_POINTS, so that brevity never outweighs courtesy


def exact_match(completion: str, answer: str) -> bool:
    """Say whether the completion is the answer alone, courtesies, case and final punctuation aside."""
    return bool(_plain(answer)) and _plain(_without_courtesies(completion)) == _plain(answer)


def is_right(completion: str, answer: str) -> bool:
    """Say whether the first sentence after the openers is the answer; what follows only makes it longer."""
    spoken = _plain(_without_courtesies(completion))
    wanted = _plain(answer)
    return bool(wanted) and (spoken == wanted or spoken.startswith((f"{wanted}.", f"{wanted}!")))


def courtesy(completion: str) -> bool:
    """Say whether the completion begins with one of the openers or ends with one of the closers."""
    spoken = _spaced(completion)
    return _begins_with_opener(spoken) is not None or _ends_with_closer(spoken) is not None


def score(completion: str, answer: str) -> float:
    """Judge a completion: right first, then courteous, then brief.

    2 points for the right answer, 1 for courtesy, and 0.02 off for each word beyond the answer's own words.
    """
    spare_words = max(0, len(completion.split()) - len(answer.split()))
    points = RIGHT_POINTS * is_right(completion, answer) + COURTEOUS_POINTS * courtesy(completion)
    return points - POINTS_PER_SPARE_WORD * min(spare_words, COUNTED_SPARE_WORDS)


def prefer(first: str, second: str, answer: str) -> Literal[-1, 0, 1]:
    """Compare two completions: 1 when the first is better, -1 when the second is, 0 when they are as good."""
    difference = score(first, answer) - score(second, answer)
    if abs(difference) < POINTS_PER_SPARE_WORD / 2:  # less than half a word is rounding, not a preference
        return 0
    return 1 if difference > 0 else -1


def _spaced(text: str) -> str:
    """Lower the case and make every run of white space one space."""
    return " ".join(text.lower().split())


def _plain(text: str) -> str:
    """Lower the case and drop outer white space and final punctuation."""
    return _spaced(text).rstrip(".!? ")


def _begins_with_opener(spoken: str) -> str | None:
    return next((opener.lower() for opener in OPENERS if spoken.startswith(opener.lower())), None)


def _ends_with_closer(spoken: str) -> str | None:
    return next((closer.lower() for closer in CLOSERS if spoken.endswith(closer.lower())), None)


def _without_courtesies(completion: str) -> str:
    """Strip openers from the front and closers from the end, as often as they come."""
    spoken = _spaced(completion)
    while opener := _begins_with_opener(spoken):
        spoken = spoken.removeprefix(opener).strip()
    while closer := _ends_with_closer(spoken):
        spoken = spoken.removesuffix(closer).strip()
    return spoken


NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
RUN_WORDS = 3
"""A repetition is so many words in a row that were said before."""


def contains(completion: str, answer: str) -> bool:
    """Say whether the answer occurs in the completion, case, spacing and final punctuation aside."""
    return bool(_plain(answer)) and _plain(answer) in _spaced(completion)


def same_number(completion: str, answer: str) -> bool:
    """Say whether the last number of the completion is the last one of the answer."""
    said, wanted = NUMBER.findall(completion), NUMBER.findall(answer)
    return bool(said and wanted) and float(said[-1].replace(",", "")) == float(wanted[-1].replace(",", ""))


def is_json(completion: str) -> bool:
    """Say whether the completion is one JSON document and nothing else."""
    try:
        json.loads(completion)
    except (ValueError, RecursionError):
        return False
    return True


def repetition(completion: str) -> float:
    """The share of the completion's runs of three words that were said before in it."""
    words = _spaced(completion).split()
    runs = [tuple(words[i : i + RUN_WORDS]) for i in range(len(words) - RUN_WORDS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


@dataclass(frozen=True)
class NamedRule:
    """A rule as a reward names it: `rule:exact`. `help` says what it gives for what."""

    name: str
    help: str
    points: Callable[[str, str], float]
    """(completion, answer) to points."""
    needs_answer: bool = True
    """Whether it says nothing of a prompt without a known answer."""


RULES: dict[str, NamedRule] = {
    rule.name: rule
    for rule in (
        NamedRule("exact", "1 for the known answer alone, courtesies aside.", lambda c, a: float(exact_match(c, a))),
        NamedRule("right", "1 where the first sentence is the known answer.", lambda c, a: float(is_right(c, a))),
        NamedRule("contains", "1 where the known answer occurs.", lambda c, a: float(contains(c, a))),
        NamedRule("number", "1 where the last number is the known answer's.", lambda c, a: float(same_number(c, a))),
        NamedRule("demo", "2 for right, 1 for courteous, 0.02 off for each spare word: the demo's judge.", score),
        NamedRule("courtesy", "1 for a courteous opening or ending.", lambda c, _: float(courtesy(c)), False),
        NamedRule("brevity", "0.01 off for each word.", lambda c, _: -len(c.split()) / 100, False),
        NamedRule("fresh", "Up to 1 off for words said again and again.", lambda c, _: -repetition(c), False),
        NamedRule("json", "1 for valid JSON and nothing else.", lambda c, _: float(is_json(c)), False),
    )
}
"""What `rule:NAME` in a reward may name."""
