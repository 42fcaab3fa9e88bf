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
5. Equal pairs count once. `cap` keeps at most so many of a prompt, the same ones every time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol

from workbench.records import PERSON, Conversation, Demonstration, Pair, Prompt, Ranking, digest, turns_to_json

Row = dict[str, Any]
Judged = tuple[Prompt, Ranking, Mapping[int, str]]
"""A prompt, a standing ranking of it and the shown texts by completion id."""

EDIT = "edit"
"""The origin of a demonstration that a person wrote while ranking."""


class Judgements(Protocol):
    """What a store offers: every standing judgement, and the demonstrations."""

    def judged(self) -> Iterable[Judged]: ...

    def demonstrations(self) -> Iterable[Demonstration]: ...


def all_pairs(judgements: Judgements, *, cap: int | None = None) -> list[Pair]:
    """Every pair that a project's rankings and edits make."""
    return pairs_from(judgements.judged(), judgements.demonstrations(), cap=cap)


def pairs_of(prompt: Prompt, ranking: Ranking, texts: Mapping[int, str]) -> list[Pair]:
    """The pairs of one ranking by itself (rules 1 and 3)."""
    return [_pair(prompt, ranking, texts, winner, loser) for winner, loser in _decisions(ranking, texts)]


def pairs_from(judged: Iterable[Judged], edits: Iterable[Demonstration] = (), *, cap: int | None = None) -> list[Pair]:
    """All pairs of a project by the rule above, in order of their prompts' first judgement."""
    everything = list(judged)
    by_prompt: dict[int, list[Pair]] = {}
    for prompt, _, _ in everything:
        by_prompt.setdefault(prompt.id, [])
    decided: dict[str, set[tuple[int, int]]] = {}
    newest_first = sorted(everything, key=lambda entry: (entry[1].judge != PERSON, -entry[1].id))
    for prompt, ranking, texts in newest_first:
        by_prompt[prompt.id].extend(_undecided_pairs(prompt, ranking, texts, decided))
    for pair in _edit_pairs(everything, edits):
        by_prompt[pair.prompt_id].append(pair)
    return [pair for found in by_prompt.values() for pair in _capped(_distinct(found), cap)]


def _undecided_pairs(
    prompt: Prompt, ranking: Ranking, texts: Mapping[int, str], decided: dict[str, set[tuple[int, int]]]
) -> list[Pair]:
    """What the ranking says of twos that no newer one of its judge, and no person, has decided."""
    if ranking.verdict == "skip":
        return []
    twos = {(min(a, b), max(a, b)) for a, b in combinations(ranking.shown, 2)}
    settled = (decided.get(ranking.judge, set()) | decided.get(PERSON, set())) & twos
    found = [
        _pair(prompt, ranking, texts, winner, loser)
        for winner, loser in _decisions(ranking, texts)
        if (min(winner, loser), max(winner, loser)) not in settled
    ]
    decided.setdefault(ranking.judge, set()).update(twos)
    return found


def _decisions(ranking: Ranking, texts: Mapping[int, str]) -> Iterator[tuple[int, int]]:
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


def _capped(pairs: list[Pair], cap: int | None) -> list[Pair]:
    return pairs if cap is None or len(pairs) <= cap else sorted(pairs, key=pair_digest)[:cap]


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
        {"prompt": _said(demonstration.prompt.turns), "completion": _answer(demonstration.text)}
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
