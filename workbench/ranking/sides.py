"""Which answers of a prompt are shown for ranking, and on which side: chosen by the prompt's own seed, so blind and
the same after a restart. The seed and the order are stored with the vote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from random import Random
from typing import Literal

from workbench import examples
from workbench.ranking.ballot import LETTERS
from workbench.records import PERSON, Completion, Prompt, Ranking, digest
from workbench.store import Store

MOST_ANSWERS = len(LETTERS)

Mode = Literal["auto", "ab"]
"""auto: A/B where a prompt has two answers, K-way (up to six) where it has more. ab: always two of them."""

Layout = Literal["ab", "kway"]


@dataclass(frozen=True)
class Item:
    """A prompt as it is shown: its answers in the order of their places, and what stands of it in the store."""

    prompt: Prompt
    place: str
    """Its place in the queue."""
    answers: tuple[Completion, ...]
    seed: int
    layout: Layout
    standing: Ranking | None = None
    """The vote it has, when one walked back to it."""
    again: Ranking | None = None
    """The vote that this second look is compared with."""
    flag: int | None = None
    """The id of its flag."""
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[int, ...]:
        return tuple(answer.id for answer in self.answers)


def laid_out(store: Store, prompt: Prompt, place: str, mode: Mode) -> Item | None:
    """The prompt's answers since the last decision on it, chosen and ordered by its seed; None where all are equal."""
    seen = store.judged_up_to(prompt.id)
    answers = list({answer.text: answer for answer in store.completions(prompt.id) if answer.id > seen}.values())
    if len(answers) < 2:
        return None
    layout: Layout = "ab" if mode == "ab" or len(answers) == 2 else "kway"
    seed = int(digest("sides", place, seen)[:8], 16)
    Random(seed).shuffle(answers)
    count = 2 if layout == "ab" else MOST_ANSWERS
    return remarked(store, Item(prompt, place, tuple(answers[:count]), seed, layout))


def rebuilt(store: Store, ranking: Ranking) -> Item:
    """The item that a decision was made on, its answers on the same sides."""
    by_id = {answer.id: answer for answer in store.completions(ranking.prompt_id)}
    answers = tuple(by_id[completion_id] for completion_id in ranking.shown)
    layout: Layout = "ab" if len(answers) == 2 else "kway"
    prompt = store.prompt(ranking.prompt_id)
    return remarked(store, Item(prompt, store.place_of(prompt.id), answers, ranking.seed, layout))


def remarked(store: Store, item: Item) -> Item:
    """The item with the flag and the notes that stand on its prompt."""
    remarks = store.remarks(item.prompt.id)
    flags = [remark_id for remark_id, kind, _ in remarks if kind == "flag"]
    notes = tuple(text for _, kind, text in remarks if kind == "note")
    return replace(item, flag=flags[-1] if flags else None, notes=notes)


def pairs_made(item: Item, ranking: Ranking | None) -> int:
    """How many training pairs a decision on the item makes."""
    if ranking is None or ranking.judge != PERSON:
        return 0
    return len(examples.pairs_of(item.prompt, ranking, {answer.id: answer.text for answer in item.answers}))


def source_votes(store: Store, rankings: Iterable[Ranking]) -> Iterator[tuple[str, str, float]]:
    """(source, other, share of a win for the first) of every two answers that a ranking compared.

    Asks the store once a ranking: not for a frame.
    """
    for ranking in rankings:
        if ranking.verdict in ("skip", "both_bad"):
            continue
        labels = {answer.id: answer.origin.label for answer in store.completions(ranking.prompt_id)}
        place = {answer: at for at, tier in enumerate(ranking.tiers) for answer in tier}
        for one, other in combinations(place, 2):
            if one in labels and other in labels:
                share = 0.5 if place[one] == place[other] else float(place[one] < place[other])
                yield labels[one], labels[other], share
