"""What a person should know of a data set before it is imported: what is there twice, and whether longer answers win.

Pure: it reads parsed rows and judges nothing. Length bias in preferences predicts a reward model that likes length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from workbench.formats import Parsed
from workbench.records import Conversation, digest, turns_to_json

LONGER_SHARE_WARNED = 0.65
"""From two pairs in three the longer answer winning is a habit, not chance (p < 0.01 from 60 pairs on)."""
FEWEST_PAIRS_WARNED = 20


def warnings(rows: Iterable[Parsed]) -> tuple[str, ...]:
    """What these rows are warned of, in sentences."""
    rows = list(rows)
    examples = [example for row in rows for example in _examples(row)]
    told: list[str] = []
    if twice := len(examples) - len({digest(*texts) for texts in examples}):
        are = "example is" if twice == 1 else "examples are"
        told.append(f"{twice:,} {are} there more than once; each is kept once.")
    pairs = [pair for row in rows for pair in _pairs(row)]
    share = _longer_share(pairs)
    if share is not None and len(pairs) >= FEWEST_PAIRS_WARNED:
        if share >= LONGER_SHARE_WARNED:
            told.append(f"The longer answer wins in {share:.0%} of the pairs: the model will learn to be long.")
        elif share <= 1 - LONGER_SHARE_WARNED:
            told.append(f"The shorter answer wins in {1 - share:.0%} of the pairs: the model will learn to be short.")
    return tuple(told)


def _examples(row: Parsed) -> list[tuple[str, ...]]:
    """Each example's texts: the prompt, then its answer or both sides."""
    found: list[tuple[str, ...]] = [(_text(prompt.turns), answer) for prompt, answer in row.demonstrations]
    found += [(_text(prompt.turns), chosen, rejected) for prompt, chosen, rejected in row.preferences]
    found += [(_text(ranked.prompt.turns), *ranked.answers) for ranked in row.rankings]
    return [*found, *((_text(prompt.turns),) for prompt in row.prompts)]


def _pairs(row: Parsed) -> Iterator[tuple[str, str]]:
    """(better, worse): of each ranking that has both, the best and the worst answer."""
    yield from ((chosen, rejected) for _, chosen, rejected in row.preferences)
    for ranked in row.rankings:
        if len(ranked.tiers) > 1:
            yield ranked.answers[ranked.tiers[0][0]], ranked.answers[ranked.tiers[-1][-1]]


def _text(turns: Conversation) -> str:
    return "\n".join(turn["content"] for turn in turns_to_json(turns))


def _longer_share(pairs: Sequence[tuple[str, str]]) -> float | None:
    """The share of the pairs of different length whose better answer is the longer one; None where there are none."""
    differing = [(len(better), len(worse)) for better, worse in pairs if len(better) != len(worse)]
    return sum(better > worse for better, worse in differing) / len(differing) if differing else None
