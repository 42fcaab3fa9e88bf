"""Which answers of a prompt are shown for ranking, and on which side: chosen by the prompt's own seed, so blind and
the same after a restart. The seed and the order are stored with the vote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from random import Random
from typing import Literal

from workbench import examples
from workbench.ranking.agreement import Bias
from workbench.ranking.ballot import LETTERS
from workbench.records import PERSON, Completion, Prompt, Ranking, digest
from workbench.store import Store
from workbench.store.scores import DIGEST_CHARACTERS

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
    seed = int(digest("sides", place[-DIGEST_CHARACTERS:], seen)[:8], 16)  # the same in whatever order one ranks
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


@dataclass(frozen=True)
class Weighed:
    """What votes say of sources, and of length."""

    votes: tuple[tuple[str, str, float], ...]
    """(source, other, share of a win for the first) of every two answers that a ranking compared."""
    longer: Bias
    """How often the best answer of a ranking had more words than its worst: by chance half of the time."""


def weighed(store: Store, rankings: Iterable[Ranking]) -> Weighed:
    """Looks at what rankings were about. Asks the store once a ranking: not for a frame."""
    votes: list[tuple[str, str, float]] = []
    lengths: list[bool] = []
    for ranking in rankings:
        if ranking.verdict in ("skip", "both_bad"):
            continue
        answers = {answer.id: answer for answer in store.completions(ranking.prompt_id)}
        place = {answer: at for at, tier in enumerate(ranking.tiers) for answer in tier if answer in answers}
        for one, other in combinations(place, 2):
            share = 0.5 if place[one] == place[other] else float(place[one] < place[other])
            votes.append((answers[one].origin.label, answers[other].origin.label, share))
        ordered = sorted(place, key=lambda answer: place[answer])
        if ordered and place[ordered[0]] < place[ordered[-1]]:
            best, worst = (len(answers[at].text.split()) for at in (ordered[0], ordered[-1]))
            lengths += [best > worst] if best != worst else []
    return Weighed(tuple(votes), Bias(sum(lengths), len(lengths)))
