"""OpenAI's messages: a list of {role, content}. Tool calls are context; only answers in words are imitated."""

from __future__ import annotations

from workbench.formats import Layout, Parsed, Row
from workbench.formats.turns import conversation, demonstrations_of, imitable, is_turns, kind_of, optional_text


def fits(row: Row) -> bool:
    return is_turns(row.get("messages"), "role", "content")


def parse(row: Row) -> Parsed:
    turns = conversation(imitable(row).get("messages"), system=optional_text(row, "system", "system_prompt"))
    return demonstrations_of(turns, kind_of(row))


LAYOUT = Layout(
    name="messages",
    label="messages (OpenAI)",
    keys="'messages', a list of role and content",
    precedence=40,
    fits=fits,
    parse=parse,
)
