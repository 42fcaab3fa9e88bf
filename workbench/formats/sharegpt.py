"""ShareGPT's conversations: a list of {from, value}, or of {role, content} under the same key."""

from __future__ import annotations

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.turns import conversation, demonstrations_of, is_any_turns, kind_of, optional_text

KEYS = ("conversations", "conversation", "dialog", "dialogue")


def fits(row: Row) -> bool:
    return any(is_any_turns(row.get(key)) for key in KEYS)


def parse(row: Row) -> Parsed:
    key = next((key for key in KEYS if key in row), None)
    if key is None:
        raise BadRow("'conversations' is missing")
    turns = conversation(row[key], system=optional_text(row, "system", "system_prompt"))
    return demonstrations_of(turns, kind_of(row))


LAYOUT = Layout(
    name="sharegpt",
    label="conversations (ShareGPT)",
    keys="'conversations', a list of from and value",
    precedence=50,
    fits=fits,
    parse=parse,
)
