"""From an item of the ranking session to what its panes show. Pure."""

from __future__ import annotations

from screens.widgets.answers import Answer
from workbench.ranking.agreement import left_won
from workbench.ranking.ballot import LETTERS, Ballot
from workbench.ranking.sides import Item
from workbench.ranking.word_diff import Spans, differing
from workbench.records import Completion, Ranking
from workbench.text import clean


def answers_of(item: Item, ballot: Ballot | None, *, diff: bool, revealed: bool) -> tuple[Answer, ...]:
    """The item's answers for the panes. An origin is named only where one asked for it, on a prompt that has a vote."""
    spans: tuple[Spans | None, Spans | None] = (None, None)
    if diff and item.layout == "ab":
        found = differing(*(clean(answer.text) for answer in item.answers))
        spans = (None, None) if isinstance(found, str) else found
    return tuple(
        Answer(
            key=str(at + 1) if item.layout == "ab" else LETTERS[at].upper(),
            label=("LEFT", "RIGHT")[at] if item.layout == "ab" else "",
            text=answer.text,
            verdict=_verdict(item, ballot, at),
            origin=origin_of(answer) if revealed and item.standing else "",
            bad=bool(ballot and at in ballot.bad),
            spans=spans[at] if item.layout == "ab" else None,
        )
        for at, answer in enumerate(item.answers)
    )


def origin_of(answer: Completion) -> str:
    """Where an answer came from, for after the vote."""
    return f"{answer.origin.label} · t {answer.origin.temperature:g}"


def _verdict(item: Item, ballot: Ballot | None, at: int) -> str:
    if ballot is not None and ballot.tiers:
        place = next((place for place, tier in enumerate(ballot.tiers) if at in tier), None)
        return "" if place is None else f"✓ {ordinal(place + 1)}"
    return "" if item.standing is None else _stands(item.standing, item.answers[at].id, item.layout == "ab")


def _stands(ranking: Ranking, completion_id: int, pair: bool) -> str:
    """What the vote that stands says of an answer."""
    if ranking.verdict in ("tie", "both_bad", "skip"):
        return {"tie": "= tie", "both_bad": "✗ both bad", "skip": "· later"}[ranking.verdict]
    if pair:
        won = (ranking.shown[0] == completion_id) == left_won(ranking)
        return "✓ better" if won else ""
    place = next(place for place, tier in enumerate(ranking.tiers) if completion_id in tier)
    return ordinal(place + 1)


def ordinal(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"
