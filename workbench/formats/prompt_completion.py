"""TRL's prompt and completion: two texts, or two lists of turns. The bundled demonstrations are written so."""

from __future__ import annotations

from typing import Any

from workbench.formats import Layout, Parsed, Row
from workbench.formats.turns import (
    check_order,
    conversation,
    demonstrations_of,
    imitable,
    kind_of,
    optional_text,
    prompt_of,
    text_of,
)
from workbench.records import Conversation, NewPrompt


def fits(row: Row) -> bool:
    return "prompt" in row and "completion" in row


def parse(row: Row) -> Parsed:
    prompt = _prompt(imitable(row))
    kind = kind_of(row)
    if not isinstance(row.get("completion"), list):
        known = optional_text(row, "answer") or None
        return Parsed(demonstrations=((NewPrompt(prompt, known, kind), text_of(row, "completion")),))
    turns = (*prompt, *_completion(row["completion"]))
    check_order(turns)
    answers = demonstrations_of(turns, kind).demonstrations
    return Parsed(demonstrations=tuple(answer for answer in answers if len(answer[0].turns) >= len(prompt)))


def _prompt(row: Row) -> Conversation:
    if isinstance(row.get("prompt"), list):
        return conversation(row["prompt"])
    return prompt_of(text_of(row, "prompt"), system=optional_text(row, "system", "system_prompt"))


def _completion(turns: list[Any]) -> Conversation:
    """The completion's turns; checked as if a question came before them."""
    return conversation([{"role": "user", "content": "?"}, *turns])[1:]


LAYOUT = Layout(
    name="prompt_completion",
    label="prompt and completion",
    keys="'prompt' and 'completion'",
    precedence=60,
    fits=fits,
    parse=parse,
)
