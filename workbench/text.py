"""Text from models, data, files and errors, made harmless to a terminal. Originals are stored; the shown is cleaned.

It does not defuse Textual's or Rich's markup: screens also wrap what it returns in `Content` or `Text`.
"""

from __future__ import annotations

import re

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Everything a terminal may act on, but tab and newline."""

HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Characters without a shape of their own: they turn text round, join it or hide in it."""

SHOWN_CHARACTERS = 32_768
"""Longer texts are cut: a screen shows a few thousand characters, and a megabyte takes it seconds to lay out."""


def clean(text: str, limit: int = SHOWN_CHARACTERS, hidden: bool = True) -> str:
    """`text` with controls as symbols you can see, and (`hidden`) invisible characters as `<U+202E>`."""
    over = len(text) - limit
    text = CONTROLS.sub(_symbol, text[: max(limit, 0)].replace("\r\n", "\n"))
    if hidden:
        text = HIDDEN.sub(lambda match: f"<U+{ord(match.group()):04X}>", text)
    text = text.encode("utf-8", "replace").decode()  # lone surrogates cannot be printed
    return text if over <= 0 else f"{text} …[{over} more]"


def one_line(text: str, limit: int = 200) -> str:
    """`clean` for a row of a table: line breaks and tabs become single spaces."""
    return clean(" ".join(text[: limit * 8].split()), limit)


def _symbol(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<{code:02X}>"
