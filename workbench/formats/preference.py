"""A prompt with a chosen and a rejected answer: texts, lists of turns, or UltraFeedback's mixture of both.

Alpaca's, Argilla's, Orca's and ShareGPT's spellings of the same are read too.
"""

from __future__ import annotations

from typing import Any

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.alpaca import alpaca_prompt
from workbench.formats.turns import (
    conversation,
    is_any_turns,
    is_transcript,
    kind_of,
    optional_text,
    prompt_of,
    role_of,
    text_of,
    transcript,
    usable,
)
from workbench.records import Conversation, NewPrompt

CHOSEN = ("chosen", "chosen_response", "chosen_answer")
REJECTED = ("rejected", "rejected_response", "rejected_answer", "rejected_messages")
PROMPTS = ("prompt", "question", "query", "input")
TURNS = ("messages", "conversations")


def fits(row: Row) -> bool:
    sides = any(key in row for key in REJECTED) and (any(key in row for key in CHOSEN) or _answered(row))
    return sides and ("instruction" in row or any(row.get(key) for key in (*PROMPTS, *TURNS)))


def parse(row: Row) -> Parsed:
    asked = question_of(row)
    answers = [turn.content for turn in asked[-1:] if turn.role == "assistant"]  # swift's and UltraFeedback's messages
    asked = asked[: len(asked) - len(answers)]
    if not answers or any(key in row for key in CHOSEN):
        answers = [_side(row, CHOSEN, asked)]
    rejected = _side(row, REJECTED, asked)
    if answers[0].strip() == rejected.strip():
        raise BadRow("chosen and rejected are the same")
    return Parsed(preferences=((NewPrompt(asked, kind=kind_of(row)), answers[0], rejected),))


def _answered(row: Row) -> bool:
    """ms-swift's rows: `messages` ends with the chosen answer and only the rejected one stands apart."""
    turns = row.get("messages")
    return isinstance(turns, list) and is_any_turns(turns) and role_of(turns[-1]) == "assistant"


def question_of(row: Row) -> Conversation:
    """What a preference row asks, whichever way it is written."""
    key = next((key for key in (*TURNS, *PROMPTS) if isinstance(row.get(key), list)), None)
    system = optional_text(row, "system", "system_prompt")
    if key is not None:
        return conversation(row[key], system=system)
    if "instruction" in row:
        return alpaca_prompt(row)
    name = next((key for key in PROMPTS if row.get(key)), "prompt")
    text = text_of(row, name)
    return transcript_prompt(text) if is_transcript(text) else prompt_of(text, system=system)


def transcript_prompt(text: str) -> Conversation:
    """A dialogue so far, whose last `Assistant:` waits for the answer."""
    return transcript(text.rstrip().removesuffix("Assistant:"))


def _side(row: Row, keys: tuple[str, ...], prompt: Conversation) -> str:
    """One side's answer, whichever way it is written."""
    key = next((key for key in keys if row.get(key) is not None), keys[0])
    value = row.get(key)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return text_of(row, key)
    if not value or not isinstance(value[-1], dict):
        raise BadRow(f"{key!r} has no turns")
    return _last_answer(value, key, prompt)


def _last_answer(value: list[Any], key: str, prompt: Conversation) -> str:
    """The answer at the end of a side that is written as turns: the answer alone, or the whole conversation."""
    alone = len(value) == 1
    turns = conversation([{"role": "user", "content": "?"}, *value] if alone else value)
    if turns[-1].role != "assistant" or not turns[-1].content.strip():
        raise BadRow(f"{key!r} does not end with an answer")
    before = tuple(turn for turn in turns[:-1] if turn.role != "system")
    asked = tuple(turn for turn in prompt if turn.role != "system")
    if not alone and before[-1].content.strip() != asked[-1].content.strip():
        raise BadRow(f"{key!r} answers another question than the prompt's")
    return usable(turns[-1].content, key)


LAYOUT = Layout(
    name="preference",
    label="prompt, chosen and rejected",
    keys="a prompt, 'chosen' and 'rejected'",
    precedence=10,
    fits=fits,
    parse=parse,
)
