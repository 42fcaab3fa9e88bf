"""Chosen and rejected only, each the whole conversation: lists of turns, or HH-RLHF's written-out dialogues.

The prompt is what both sides have in common, compared turn by turn. TRL's own script compares characters and cuts at
the last "Assistant: ", which breaks on empty answers and on marks without a space.
"""

from __future__ import annotations

from typing import Any

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.turns import conversation, is_any_turns, is_transcript, kind_of, optional_text, transcript
from workbench.records import Conversation, NewPrompt


def fits(row: Row) -> bool:
    return all(is_transcript(row.get(side)) or is_any_turns(row.get(side)) for side in ("chosen", "rejected"))


def parse(row: Row) -> Parsed:
    system = optional_text(row, "system", "system_prompt")
    chosen = _conversation(row.get("chosen"), "chosen", system)
    rejected = _conversation(row.get("rejected"), "rejected", system)
    if chosen == rejected:
        raise BadRow("chosen and rejected are the same")
    shared = _shared_turns(chosen, rejected)
    if shared == 0:
        raise BadRow("chosen and rejected have no question in common")
    if shared != len(chosen) - 1 or shared != len(rejected) - 1:
        raise BadRow(f"chosen and rejected part at turn {shared + 1}, before the last answer")
    prompt = NewPrompt(chosen[:shared], kind=kind_of(row))
    return Parsed(preferences=((prompt, chosen[-1].content, rejected[-1].content),))


def _conversation(value: Any, side: str, system: str) -> Conversation:
    if not (is_transcript(value) or is_any_turns(value)):
        raise BadRow(f"{side!r} is neither a list of turns nor a dialogue of Human: and Assistant:")
    try:
        turns = transcript(value) if isinstance(value, str) else conversation(value, system=system)
    except BadRow as bad:
        raise BadRow(f"{side}: {bad}") from None
    if turns[-1].role != "assistant":
        raise BadRow(f"{side!r} does not end with an answer")
    return turns


def _shared_turns(first: Conversation, second: Conversation) -> int:
    """How many turns both begin with."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


LAYOUT = Layout(
    name="preference_implicit",
    label="chosen and rejected conversations (HH-RLHF)",
    keys="'chosen' and 'rejected' conversations and no prompt",
    precedence=20,
    fits=fits,
    parse=parse,
)
