"""From rankings to thumbs: single answers that a judge called good or bad, which is what KTO trains on. Pure.

The rule that turns judgements into thumbs, as the screens state it:

1. An answer that a judgement marks as unacceptable is bad, whatever its place; "both bad" marks all it showed.
2. In a ranking the answers of the best tier are good and those of the worst are bad. What lies between is neither:
   a place in the middle says how an answer compares, not whether it will do.
3. A tie says nothing beyond rule 1, but an answer that was judged alone and not marked is good (an imported label
   says so). A skip says nothing at all. Nor does a flag on a prompt: it asks to look here again.
4. A better answer that a person wrote (a demonstration of origin "edit") is good.
5. The newest standing judgement that says anything of an answer decides; a person's goes before any rule's or model's.
   An answer is its text: two completions of one text get one thumb, and none where one judgement calls it both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.examples import EDIT, Judged, Judgements, counted, counted_edits
from workbench.records import PERSON, Conversation, Demonstration, Ranking, turns_to_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Thumb:
    """An answer to a prompt that was called good (`up`) or bad."""

    prompt: Conversation
    answer: str
    up: bool
    prompt_id: int
    judge: str = PERSON


def all_thumbs(judgements: Judgements, *, judges: str = "") -> list[Thumb]:
    """Every thumb that a project's rankings and edits make, of the judges that count."""
    return thumbs_from(counted(judgements, judges), counted_edits(judgements, judges))


def thumbs_from(judged: Iterable[Judged], edits: Iterable[Demonstration] = ()) -> list[Thumb]:
    """All thumbs by the rule above, in order of their prompts' first judgement."""
    everything = list(judged)
    found: dict[int, dict[str, Thumb]] = {}
    for prompt, _, _ in everything:
        found.setdefault(prompt.id, {})
    for edit in edits:
        if edit.origin == EDIT and edit.prompt.id in found:
            found[edit.prompt.id][edit.text] = Thumb(edit.prompt.turns, edit.text, True, edit.prompt.id)
    for prompt, ranking, texts in sorted(everything, key=lambda entry: (entry[1].judge != PERSON, -entry[1].id)):
        for answer, up in thumbs_of(ranking, texts).items():
            found[prompt.id].setdefault(answer, Thumb(prompt.turns, answer, up, prompt.id, ranking.judge))
    return [thumb for thumbs in found.values() for thumb in thumbs.values()]


def thumbs_of(ranking: Ranking, texts: Mapping[int, str]) -> dict[str, bool]:
    """What one judgement says by itself: answers and whether they are good (rules 1 to 3)."""
    bad = set(ranking.unacceptable) | (set(ranking.shown) if ranking.verdict == "both_bad" else set())
    good: set[int] = set()
    if ranking.verdict == "ranked" and len(ranking.tiers) > 1:
        bad |= set(ranking.tiers[-1])
        good = set(ranking.tiers[0]) - bad
    if ranking.verdict == "tie" and len(ranking.shown) == 1:
        good = set(ranking.shown) - bad
    if ranking.verdict == "skip":
        return {}
    ups = {texts[i] for i in good if i in texts}
    downs = {texts[i] for i in bad if i in texts}
    said = {texts[i]: texts[i] in ups for i in ranking.shown if i in texts and i in good | bad}
    return {answer: up for answer, up in said.items() if not (answer in ups and answer in downs)}


def rows(thumbs: Iterable[Thumb]) -> list[Row]:
    """Thumbs in TRL's conversational form for unpaired preferences."""
    return [
        {
            "prompt": turns_to_json(thumb.prompt),
            "completion": [{"role": "assistant", "content": thumb.answer}],
            "label": thumb.up,
        }
        for thumb in thumbs
    ]
