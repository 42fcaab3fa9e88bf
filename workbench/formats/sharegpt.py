"""ShareGPT's conversations: a list of {from, value}, of {role, content}, or of ms-swift's {human, assistant} rounds."""

from __future__ import annotations

from typing import Any

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.turns import conversation, demonstrations_of, imitable, is_any_turns, kind_of, optional_text

KEYS = ("conversations", "conversation", "dialog", "dialogue")


def fits(row: Row) -> bool:
    return any(is_any_turns(row.get(key)) or _is_rounds(row.get(key)) for key in KEYS)


def parse(row: Row) -> Parsed:
    key = next((key for key in KEYS if key in row), None)
    if key is None:
        raise BadRow("'conversations' is missing")
    turns = _turns_of_rounds(row[key]) if _is_rounds(row[key]) else row[key]
    said = conversation(turns, system=optional_text(imitable(row), "system", "system_prompt"))
    return demonstrations_of(said, kind_of(row))


def _is_rounds(value: Any) -> bool:
    """ms-swift's rounds: a question and its answer in one table."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(turn, dict) and {"human", "assistant"} <= turn.keys() for turn in value)


def _turns_of_rounds(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": said[role]} for said in rounds for role in ("human", "assistant")]


LAYOUT = Layout(
    name="sharegpt",
    label="conversations (ShareGPT)",
    keys="'conversations', a list of from and value",
    precedence=50,
    fits=fits,
    parse=parse,
)
