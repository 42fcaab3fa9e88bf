"""What a data set is like, for the Data screen: lengths, what is there twice, and whether longer answers win.

Pure: it reads parsed rows and judges nothing. Length bias in preferences predicts a reward model that likes length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from workbench.formats import Parsed
from workbench.records import Conversation, digest, turns_to_json

LONGER_SHARE_WARNED = 0.65
"""From two pairs in three the longer answer winning is a habit, not chance (p < 0.01 from 60 pairs on)."""
FEWEST_PAIRS_WARNED = 20


@dataclass(frozen=True)
class Histogram:
    """Lengths counted in bins that double in width. `unit` is characters, or tokens where a tokenizer was given."""

    unit: str = "characters"
    bins: tuple[tuple[int, int, int], ...] = ()
    """(from, up to and including, how many), from the shortest to the longest there is."""
    median: int = 0
    longest: int = 0


@dataclass(frozen=True)
class Survey:
    """A data set in figures."""

    rows: int = 0
    demonstrations: int = 0
    preferences: int = 0
    rankings: int = 0
    prompts: int = 0
    lengths: Histogram = Histogram()
    """Prompt and answer (of a pair the longer one) together, as the model reads them."""
    duplicates: int = 0
    """Examples that say the same as an earlier one."""
    cut_share: float | None = None
    """Share of the examples longer than the limit given; None without a limit."""
    chosen_longer_share: float | None = None
    """Share of the pairs of different length whose chosen answer is the longer one."""
    warnings: tuple[str, ...] = ()
    """What a person should know, in sentences."""


def survey(rows: Iterable[Parsed], *, tokens: Callable[[str], int] | None = None, limit: int | None = None) -> Survey:
    """The figures of these rows. `tokens` counts a text's tokens; without it lengths are in characters."""
    rows = list(rows)
    examples = [example for row in rows for example in _examples(row)]
    measure = tokens or len
    lengths = [measure(prompt) + max(map(measure, answers), default=0) for prompt, *answers in examples]
    names = {digest(*texts) for texts in examples}
    cut = sum(length > limit for length in lengths) / len(lengths) if limit and lengths else None
    figures = Survey(
        rows=len(rows),
        demonstrations=sum(len(row.demonstrations) for row in rows),
        preferences=sum(len(row.preferences) for row in rows),
        rankings=sum(len(row.rankings) for row in rows),
        prompts=sum(len(row.prompts) for row in rows),
        lengths=histogram(lengths, "tokens" if tokens else "characters"),
        duplicates=len(examples) - len(names),
        cut_share=cut,
        chosen_longer_share=_longer_share([pair for row in rows for pair in (*row.preferences, *_extremes(row))]),
    )
    return _with_warnings(figures)


def _examples(row: Parsed) -> list[tuple[str, ...]]:
    """Each example's texts: the prompt, then its answer or both sides."""
    found: list[tuple[str, ...]] = [(_text(prompt.turns), answer) for prompt, answer in row.demonstrations]
    found += [(_text(prompt.turns), chosen, rejected) for prompt, chosen, rejected in row.preferences]
    found += [(_text(ranked.prompt.turns), *ranked.answers) for ranked in row.rankings]
    return [*found, *((_text(prompt.turns),) for prompt in row.prompts)]


def _extremes(row: Parsed) -> list[tuple[object, str, str]]:
    """The best and the worst answer of each ranking that has both, as a pair."""
    return [
        (ranked.prompt, ranked.answers[ranked.tiers[0][0]], ranked.answers[ranked.tiers[-1][-1]])
        for ranked in row.rankings
        if len(ranked.tiers) > 1
    ]


def _text(turns: Conversation) -> str:
    return "\n".join(turn["content"] for turn in turns_to_json(turns))


def histogram(lengths: Sequence[int], unit: str = "characters") -> Histogram:
    """Counts in bins 0-15, 16-31, 32-63 and so on."""
    if not lengths:
        return Histogram(unit)
    counts: dict[int, int] = {}
    for length in lengths:
        power = max(4, length.bit_length())
        counts[power] = counts.get(power, 0) + 1
    bins = tuple(
        (0 if power == 4 else 2 ** (power - 1), 2**power - 1, counts.get(power, 0))
        for power in range(min(counts), max(counts) + 1)
    )
    return Histogram(unit, bins, sorted(lengths)[len(lengths) // 2], max(lengths))


def _longer_share(pairs: Sequence[tuple[object, str, str]]) -> float | None:
    differing = [(len(chosen), len(rejected)) for _, chosen, rejected in pairs if len(chosen) != len(rejected)]
    return sum(chosen > rejected for chosen, rejected in differing) / len(differing) if differing else None


def _with_warnings(figures: Survey) -> Survey:
    told: list[str] = []
    if figures.duplicates:
        told.append(f"{figures.duplicates:,} examples are there more than once; each is kept once.")
    if figures.cut_share:
        told.append(f"{figures.cut_share:.0%} of the examples are longer than the limit and will be cut.")
    share = figures.chosen_longer_share
    if share is not None and figures.preferences + figures.rankings >= FEWEST_PAIRS_WARNED:
        if share >= LONGER_SHARE_WARNED:
            told.append(f"The longer answer wins in {share:.0%} of the pairs: the model will learn to be long.")
        elif share <= 1 - LONGER_SHARE_WARNED:
            told.append(f"The shorter answer wins in {1 - share:.0%} of the pairs: the model will learn to be short.")
    return replace(figures, warnings=tuple(told))
