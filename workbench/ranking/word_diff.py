"""Which words of two texts differ. Pure; says so itself where a comparison would only be noise."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

LONGEST = 4_096
"""Characters: in longer texts the marks stop helping, and comparing them takes longer than a frame."""

LEAST_ALIKE = 0.3
"""Below this share of common words almost everything would be marked."""

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")

Spans = list[tuple[int, int]]


def differing(one: str, other: str) -> tuple[Spans, Spans] | str:
    """(start, end) of the words that only one of the texts has, for each; or a sentence why there is no comparison."""
    if max(len(one), len(other)) > LONGEST:
        return "The answers are longer than 4 KB: too long to mark their differences."
    first, second = _WORDS.findall(one), _WORDS.findall(other)
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    if matcher.ratio() < LEAST_ALIKE:
        return "The answers have too little in common: everything would be marked."
    blocks = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    return (
        _merged(first, [(start, end) for _, start, end, _, _ in blocks]),
        _merged(second, [(start, end) for _, _, _, start, end in blocks]),
    )


def _merged(words: list[str], blocks: Spans) -> Spans:
    """Blocks of words as spans of characters, without the white space around them."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word))
    spans = []
    for first, last in blocks:
        while first < last and words[first].isspace():
            first += 1
        while first < last and words[last - 1].isspace():
            last -= 1
        if first < last:
            spans.append((starts[first], starts[last]))
    return spans
