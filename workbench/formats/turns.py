"""Conversations as data files write them, turned into ours: roles by their many names, order checked, text checked.

Not a layout: what the layouts share. Nothing is mended silently but the names of roles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from workbench.formats import BadRow, Parsed, Row
from workbench.records import Conversation, NewPrompt, Role, Turn

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
}

MAY_FOLLOW: dict[str, tuple[Role, ...]] = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}
"""Which roles may come after which; "" is the beginning."""

UNUSABLE = re.compile("[\0\ud800-\udfff]")


def text_of(row: Row, key: str) -> str:
    """A required text; BadRow where it is missing, of another kind, blank or not storable."""
    value = row.get(key)
    if value is None:
        raise BadRow(f"{key!r} is missing")
    if not isinstance(value, str):
        raise BadRow(f"{key!r} is {_kind(value)}, not a text")
    if not value.strip():
        raise BadRow(f"{key!r} is empty")
    return usable(value, key)


def optional_text(row: Row, *keys: str) -> str:
    """The first of these texts that is there and not blank, or ""."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str) and value.strip():
            return usable(value, key)
        if value is not None and not isinstance(value, str):
            raise BadRow(f"{key!r} is {_kind(value)}, not a text")
    return ""


def usable(text: str, what: str) -> str:
    """The text as it is; BadRow where it holds what no tokenizer and no store takes."""
    found = UNUSABLE.search(text)
    if found is None:
        return text
    code = ord(found.group())
    if code == 0:
        raise BadRow(f"{what!r} holds a NUL character")
    if 0xDC80 <= code <= 0xDCFF:
        raise BadRow(f"{what!r} is not UTF-8 (byte 0x{code - 0xDC00:02x}): save the file as UTF-8")
    raise BadRow(f"{what!r} holds half a character (lone surrogate U+{code:04X})")


def _kind(value: Any) -> str:
    words = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return words.get(type(value), type(value).__name__)


def is_turns(value: Any, role_key: str, text_key: str) -> bool:
    """Whether a value looks like a list of turns written with these keys."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, dict) and role_key in turn and (text_key in turn or "tool_calls" in turn) for turn in value
        )
    )


def is_any_turns(value: Any) -> bool:
    return is_turns(value, "role", "content") or is_turns(value, "from", "value")


def conversation(value: Any, *, system: str = "") -> Conversation:
    """A list of turns, OpenAI's or ShareGPT's keys, as ours; BadRow where a turn or their order is wrong."""
    if not isinstance(value, list) or not value:
        raise BadRow("there are no turns")
    turns = tuple(_turn(turn, number) for number, turn in enumerate(value, 1))
    if system and turns[0].role != "system":
        turns = (Turn("system", system), *turns)
    check_order(turns)
    return turns


def role_of(turn: dict[str, Any]) -> Role | None:
    """Our name for the role of a turn, by whatever name the file calls it."""
    name = turn.get("role", turn.get("from"))
    return ROLES.get(name.strip().lower()) if isinstance(name, str) else None


def _turn(turn: Any, number: int) -> Turn:
    if not isinstance(turn, dict):
        raise BadRow(f"turn {number} is {_kind(turn)}, not a table with a role and a text")
    role = role_of(turn)
    if role is None:
        raise BadRow(f"turn {number} has the unknown role {str(turn.get('role', turn.get('from')))[:40]!r}")
    text = _content(turn.get("content", turn.get("value")), number)
    if not text.strip() and role in ("system", "user"):
        raise BadRow(f"turn {number} ({role}) is empty")
    if not text.strip() and role == "assistant" and not (turn.get("tool_calls") or turn.get("function_call")):
        raise BadRow(f"turn {number} (assistant) is an empty answer")
    return Turn(role, usable(text, f"turn {number}"))


def _content(value: Any, number: int) -> str:
    """A turn's text: a string, null (a tool call), or a list of text parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, number) for part in value)
    raise BadRow(f"the content of turn {number} is {_kind(value)}, not a text")


def _part(part: Any, number: int) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") in ("text", "input_text", "output_text"):
        text = part.get("text")
        if isinstance(text, str):
            return text
    what = part.get("type") if isinstance(part, dict) else _kind(part)
    raise BadRow(f"turn {number} holds a part that is not text ({str(what)[:40]})")


def check_order(turns: Sequence[Turn]) -> None:
    """BadRow where a role comes when it may not."""
    before = ""
    for number, turn in enumerate(turns, 1):
        if turn.role not in MAY_FOLLOW[before]:
            if not before:
                raise BadRow(f"the conversation begins with the {turn.role}, not with the user")
            raise BadRow(f"role order: turn {number} ({turn.role}) comes after a turn of the {before}")
        before = turn.role


def prompt_of(text: str, *, system: str = "", history: Iterable[Turn] = ()) -> Conversation:
    """A single question as a conversation, with what came before it."""
    opening = (Turn("system", system),) if system else ()
    return (*opening, *history, Turn("user", text))


def demonstrations_of(turns: Conversation, kind: str = "") -> Parsed:
    """A conversation with n answers as n demonstrations, each with all that came before it as its prompt."""
    if turns[-1].role != "assistant":
        raise BadRow(f"the last turn is the {turns[-1].role}'s, not an answer")
    if not turns[-1].content.strip():
        raise BadRow("the last answer is empty")
    return Parsed(
        demonstrations=tuple(
            (NewPrompt(turns[:place], kind=kind), turn.content)
            for place, turn in enumerate(turns)
            if turn.role == "assistant" and turn.content.strip()  # a tool call without text is context, not an answer
        )
    )


HH_MARK = re.compile(r"(?:^|\n\n)(Human|Assistant):")
"""HH-RLHF's marks stand after a blank line; a line within an answer may begin with the same word."""
GUANACO_MARK = re.compile(r"### (Human|Assistant):")


def is_transcript(value: Any) -> bool:
    """Whether a text is a dialogue written out with Human: and Assistant: marks (HH-RLHF's or Guanaco's)."""
    if not isinstance(value, str):
        return False
    start = value.lstrip()
    return start.startswith(("Human:", "### Human:")) and "Assistant:" in start


def transcript(text: str) -> Conversation:
    """A written-out dialogue as turns."""
    text = text.lstrip()
    pieces = (GUANACO_MARK if text.startswith("###") else HH_MARK).split(text)
    said = zip(pieces[1::2], pieces[2::2], strict=True)
    return conversation([{"role": who, "content": words.strip()} for who, words in said])


MARKS = ("label", "kto_tag")
"""Names under which a row says whether its one answer is good: TRL's and ms-swift's, LLaMA-Factory's."""


def mark_of(row: Row) -> bool | None:
    """Whether a row calls its one answer good; None where it does not say. A CSV writes the word."""
    mark = next((row[name] for name in MARKS if row.get(name) is not None), None)
    if isinstance(mark, str):
        return {"true": True, "false": False}.get(mark.strip().lower())
    return mark if isinstance(mark, bool) else None  # a number may be a class as well


def imitable(row: Row) -> Row:
    """The row; BadRow where it calls its answer bad, because imitating it would teach the mistakes."""
    if mark_of(row) is False:
        name = next(name for name in MARKS if row.get(name) is not None)
        raise BadRow(f"{name!r} is false: it is a bad answer, and demonstrations are imitated")
    return row


def kind_of(row: Row) -> str:
    """The optional kind of request, or ""."""
    kind = row.get("kind")
    return usable(kind, "kind")[:80] if isinstance(kind, str) else ""
