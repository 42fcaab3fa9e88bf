"""Alpaca's instruction, input and output, with LLaMA-Factory's system and history (a list of [user, assistant])."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.turns import imitable, kind_of, optional_text, prompt_of, text_of, usable
from workbench.records import Conversation, NewPrompt, Turn

ANSWERS = ("output", "response")


def fits(row: Row) -> bool:
    return "instruction" in row and any(key in row for key in ANSWERS)


def parse(row: Row) -> Parsed:
    prompt = NewPrompt(alpaca_prompt(imitable(row)), kind=kind_of(row))
    return Parsed(demonstrations=((prompt, text_of(row, next((key for key in ANSWERS if key in row), "output"))),))


def alpaca_prompt(row: Row) -> Conversation:
    """Instruction and input as one question, after the system's words and the history."""
    question = text_of(row, "instruction")
    given = optional_text(row, "input")
    return prompt_of(
        f"{question}\n\n{given}" if given else question,
        system=optional_text(row, "system", "system_prompt"),
        history=history_of(row),
    )


def history_of(row: Row) -> tuple[Turn, ...]:
    """Earlier rounds of the conversation, if the row has any."""
    rounds = row.get("history") or []
    if not isinstance(rounds, list):
        raise BadRow("'history' is not a list of [user, assistant]")
    return tuple(turn for number, pair in enumerate(rounds, 1) for turn in _round(pair, number))


def _round(pair: object, number: int) -> Iterator[Turn]:
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
        raise BadRow(f"round {number} of 'history' is not [user, assistant]")
    yield Turn("user", usable(pair[0], "history"))
    yield Turn("assistant", usable(pair[1], "history"))


LAYOUT = Layout(
    name="alpaca",
    label="instruction and output (Alpaca)",
    keys="'instruction' and 'output'",
    precedence=70,
    fits=fits,
    parse=parse,
)
