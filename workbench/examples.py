"""From completions and what was judged of them to training rows. Pure: no store, no file, no clock.

The rule that turns judgements into pairs, as the screens state it:

1. Within one ranking every completion of a higher tier beats every completion of a lower tier. Completions that share
   a tier (a tie, or the unordered rest of a K-way ranking) give no pair among themselves; nor do `tie`, `both_bad`
   and `skip`.
2. Of several standing rankings by one judge that showed the same two completions, the newest decides about those two;
   a skip decides nothing. Where a person has decided, what rules and models say of the same two is left out.
3. A completion marked unacceptable may lose, never win; two identical texts give no pair.
4. A better answer that a person wrote (a demonstration of origin "edit") beats every completion that was shown to the
   person for that prompt, whatever the vote was.
5. Equal pairs count once.
6. What a reward model says counts only where it is named (`judges`): it stays apart from what people and rules say.
   A person's second look measures the person and counts nowhere, not even when the first is taken back.

Whole rankings, for reward models, follow the same rule: an order in tiers per ballot, answers marked unacceptable
together at its end, the twos that a newer ballot or a person has decided taken out (what is left are pairs).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol

from workbench.records import (
    PERSON,
    REPEAT,
    REWARD_MODEL,
    Conversation,
    Demonstration,
    Pair,
    Prompt,
    Ranking,
    digest,
    turns_to_json,
)

Row = dict[str, Any]
Judged = tuple[Prompt, Ranking, Mapping[int, str]]
"""A prompt, a standing ranking of it and the shown texts by completion id."""

Order = tuple[tuple[str, ...], ...]
"""A ranking of answers by their texts, best tier first."""

EDIT = "edit"
"""The origin of a demonstration that a person wrote while ranking."""

MOST_ANSWERS = 16
"""Answers of a prompt in one ranking row, which goes through the model as one: more would not fit into a small card."""


class Judgements(Protocol):
    """What a store offers: every standing judgement, and the demonstrations."""

    def judged(self) -> Iterable[Judged]: ...

    def demonstrations(self) -> Iterable[Demonstration]: ...


def counts(judge: str, judges: str = "") -> bool:
    """Whether a judge's word is trained on: without names every judge's but reward models', else only those named.

    A name stands for all that begin with it: `rule` for rule:demo, `import` for every imported file.
    """
    if judge == REPEAT:
        return False
    names = [name.strip() for name in judges.split(",") if name.strip()]
    if not names:
        return not judge.startswith(REWARD_MODEL)
    return any(judge == name or judge.startswith((f"{name}:", f"{name} ")) for name in names)


def counted(judgements: Judgements, judges: str = "") -> list[Judged]:
    """The standing judgements of the judges that count."""
    return [entry for entry in judgements.judged() if counts(entry[1].judge, judges)]


def counted_edits(judgements: Judgements, judges: str = "") -> list[Demonstration]:
    """What a person wrote, where a person counts."""
    return list(judgements.demonstrations()) if counts(PERSON, judges) else []


def all_pairs(judgements: Judgements, *, judges: str = "") -> list[Pair]:
    """Every pair that a project's rankings and edits make, of the `judges` that count."""
    return pairs_from(counted(judgements, judges), counted_edits(judgements, judges))


def all_rankings(judgements: Judgements, *, judges: str = "") -> list[Row]:
    """Every prompt's rankings as one row, for reward models."""
    return ranking_rows(counted(judgements, judges), counted_edits(judgements, judges))


def pairs_of(prompt: Prompt, ranking: Ranking, texts: Mapping[int, str]) -> list[Pair]:
    """The pairs of one ranking by itself (rules 1 and 3)."""
    return [_pair(prompt, ranking, texts, winner, loser) for winner, loser in decisions(ranking, texts)]


def pairs_from(judged: Iterable[Judged], edits: Iterable[Demonstration] = ()) -> list[Pair]:
    """All pairs of a project by the rule above, in order of their prompts' first judgement."""
    everything = list(judged)
    by_prompt: dict[int, list[Pair]] = {}
    for prompt, _, _ in everything:
        by_prompt.setdefault(prompt.id, [])
    decided: dict[str, set[tuple[int, int]]] = {}
    for prompt, ranking, texts in _by_weight(everything):
        by_prompt[prompt.id].extend(_undecided_pairs(prompt, ranking, texts, decided))
    for pair in _edit_pairs(everything, edits):
        by_prompt[pair.prompt_id].append(pair)
    return [pair for found in by_prompt.values() for pair in _distinct(found)]


def _undecided_pairs(
    prompt: Prompt, ranking: Ranking, texts: Mapping[int, str], decided: dict[str, set[tuple[int, int]]]
) -> list[Pair]:
    """What the ranking says of twos that no newer one of its judge, and no person, has decided."""
    if ranking.verdict == "skip":
        return []
    settled = _settled(ranking, decided)
    return [
        _pair(prompt, ranking, texts, winner, loser)
        for winner, loser in decisions(ranking, texts)
        if (min(winner, loser), max(winner, loser)) not in settled
    ]


def _by_weight(judged: Iterable[Judged]) -> list[Judged]:
    """A person's judgements before all others, the newest first: what comes first decides."""
    return sorted(judged, key=lambda entry: (entry[1].judge != PERSON, -entry[1].id))


def _settled(ranking: Ranking, decided: dict[str, set[tuple[int, int]]]) -> set[tuple[int, int]]:
    """The ranking's twos that were decided before it by its judge or a person; from now on all of its twos are."""
    twos = {(min(a, b), max(a, b)) for a, b in combinations(ranking.shown, 2)}
    settled = (decided.get(ranking.judge, set()) | decided.get(PERSON, set())) & twos
    decided.setdefault(ranking.judge, set()).update(twos)
    return settled


def decisions(ranking: Ranking, texts: Mapping[int, str]) -> Iterator[tuple[int, int]]:
    """(winner, loser) completion ids of one ranking."""
    if ranking.verdict != "ranked":
        return
    for place, tier in enumerate(ranking.tiers):
        for winner in tier:
            for loser in (loser for lower in ranking.tiers[place + 1 :] for loser in lower):
                known = winner in texts and loser in texts
                if known and winner not in ranking.unacceptable and texts[winner] != texts[loser]:
                    yield winner, loser


def _pair(prompt: Prompt, ranking: Ranking, texts: Mapping[int, str], winner: int, loser: int) -> Pair:
    return Pair(prompt.turns, texts[winner], texts[loser], ranking.id, prompt.id, ranking.judge)


def _edit_pairs(judged: Sequence[Judged], edits: Iterable[Demonstration]) -> Iterator[Pair]:
    written: dict[int, list[str]] = {}
    for demonstration in edits:
        if demonstration.origin == EDIT:
            written.setdefault(demonstration.prompt.id, []).append(demonstration.text)
    for prompt, ranking, texts in judged:
        if ranking.judge != PERSON:
            continue
        for better in written.get(prompt.id, ()):
            for shown in ranking.shown:
                if shown in texts and texts[shown] != better:
                    yield Pair(prompt.turns, better, texts[shown], ranking.id, prompt.id, PERSON)


def _distinct(pairs: Iterable[Pair]) -> list[Pair]:
    return list({pair_digest(pair): pair for pair in pairs}.values())


def ranking_rows(judged: Iterable[Judged], edits: Iterable[Demonstration] = ()) -> list[Row]:
    """A row for each prompt whose rankings tell any two answers apart, in order of their prompts' first judgement.

    `answers` are its distinct answers, `rankings` tiers of places among them.
    """
    everything = list(judged)
    orders: dict[int, list[Order]] = {prompt.id: [] for prompt, _, _ in everything}
    decided: dict[str, set[tuple[int, int]]] = {}
    for prompt, ranking, texts in _by_weight(everything):
        orders[prompt.id] += _undecided_orders(ranking, texts, decided)
    for pair in _edit_pairs(everything, edits):
        orders[pair.prompt_id].append(((pair.chosen,), (pair.rejected,)))
    prompts = {prompt.id: prompt for prompt, _, _ in everything}
    return [_ranking_row(prompts[i], kept) for i, found in orders.items() if (kept := _fitting(found))]


def _undecided_orders(
    ranking: Ranking, texts: Mapping[int, str], decided: dict[str, set[tuple[int, int]]]
) -> list[Order]:
    """The ranking's whole order; where part of it is decided already, the pairs that are not."""
    if ranking.verdict == "skip":
        return []
    settled = _settled(ranking, decided)
    if not settled:
        order = _order(ranking, texts)
        return [order] if len(order) > 1 else []
    return [
        ((texts[winner],), (texts[loser],))
        for winner, loser in decisions(ranking, texts)
        if (min(winner, loser), max(winner, loser)) not in settled
    ]


def _order(ranking: Ranking, texts: Mapping[int, str]) -> Order:
    """The tiers as texts, those marked unacceptable last; of equal texts the first counts."""
    bad = [completion for tier in ranking.tiers for completion in tier if completion in ranking.unacceptable]
    good = [[completion for completion in tier if completion not in bad] for tier in ranking.tiers]
    seen: set[str] = set()
    tiers = []
    for tier in (*good, bad):
        found = dict.fromkeys(texts[i] for i in tier if i in texts and texts[i] not in seen)
        seen.update(found)
        tiers.append(tuple(found))
    return tuple(tier for tier in tiers if tier)


def _fitting(orders: Iterable[Order]) -> list[Order]:
    """Those of a prompt's orders, the weightiest first, that together have no more answers than fit."""
    kept: list[Order] = []
    answers: set[str] = set()
    for order in dict.fromkeys(map(_thinned, orders)):
        named = {text for tier in order for text in tier}
        if len(answers | named) <= MOST_ANSWERS:
            kept.append(order)
            answers |= named
    return kept


def _thinned(order: Order) -> Order:
    """The order with as many answers as fit, evenly from best to worst."""
    named = [text for tier in order for text in tier]
    if len(named) <= MOST_ANSWERS:
        return order
    last = len(named) - 1
    kept = {named[round(place * last / (MOST_ANSWERS - 1))] for place in range(MOST_ANSWERS)}
    tiers = (tuple(text for text in tier if text in kept) for tier in order)
    return tuple(tier for tier in tiers if tier)


def _ranking_row(prompt: Prompt, orders: Sequence[Order]) -> Row:
    places: dict[str, int] = {}
    rankings = [[[places.setdefault(text, len(places)) for text in tier] for tier in order] for order in orders]
    return {"prompt": _said(prompt.turns), "answers": [_answer(text) for text in places], "rankings": rankings}


def pair_digest(pair: Pair) -> str:
    """Names a pair by what it says, so that it is known again in a run's frozen data."""
    return digest(turns_to_json(pair.prompt), pair.chosen, pair.rejected)


def row_digest(row: Row) -> str:
    """The same name, of a row that `dpo_rows` made."""
    return digest(row["prompt"], row["chosen"][-1]["content"], row["rejected"][-1]["content"])


def new_pairs_since(pairs: Iterable[Pair], trained: Collection[str]) -> int:
    """How many pairs are not among the digests of a run's data (`row_digest` of its rows)."""
    return sum(pair_digest(pair) not in trained for pair in pairs)


def sft_rows(demonstrations: Iterable[Demonstration]) -> list[Row]:
    """Demonstrations in TRL's conversational prompt-completion form."""
    return [
        {
            "prompt": _said(demonstration.prompt.turns),
            "completion": _answer(demonstration.text),
            **({"tags": dict(demonstration.tags)} if demonstration.tags else {}),
        }
        for demonstration in demonstrations
    ]


def dpo_rows(pairs: Iterable[Pair]) -> list[Row]:
    """Pairs in TRL's conversational preference form."""
    return [
        {"prompt": _said(pair.prompt), "chosen": _answer(pair.chosen), "rejected": _answer(pair.rejected)}
        for pair in pairs
    ]


def _said(turns: Conversation) -> list[dict[str, str]]:
    return turns_to_json(turns)


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def split_by_prompt(rows: Iterable[Row], share: float) -> tuple[list[Row], list[Row]]:
    """(train, held out): about `share` of the prompts are held out, and a prompt's rows all land on the same side.

    A prompt's side depends on its text alone, so it stays there when rows are added and in later runs.
    """
    train: list[Row] = []
    held_out: list[Row] = []
    for row in rows:
        (held_out if _lot(digest(row["prompt"])) < share else train).append(row)
    return train, held_out


def _lot(prompt_digest: str) -> float:
    """A number in [0, 1) drawn by the prompt's digest.

    Hashed once more: the ranking queue goes through prompts in order of their digests, so without it the first
    prompts ranked would all be held out.
    """
    return int(digest("held out", prompt_digest)[:13], 16) / 16**13
