"""Pasted text is never keys, whatever is in it: Textual takes an escape character inside a paste for the start of one.

Its parser then sends the next characters as keys, ahead of the paste, where they vote or start a run. Terminals differ
in what they let through; tmux lets everything. So the escape characters go before the parser reads them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.message import Message

ESCAPE, BEGIN, END = "\x1b", "\x1b[200~", "\x1b[201~"


class PasteParser(XTermParser):
    """Textual's parser of what a terminal sends, without escape characters between the marks of a paste.

    Marks may be cut anywhere, since a terminal is read some kilobytes at a time.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._pasting = False
        self._kept = ""
        """While pasting what may be the beginning of the end, held back; else the last that was passed on."""

    def feed(self, data: str) -> Iterable[Message]:
        """An empty text is the end of the input, so what is held back alone is not passed on."""
        passed = self._passed(data)
        return super().feed(passed) if passed or not data else ()

    def _passed(self, data: str) -> str:
        parts: list[str] = []
        while data:
            part, data = self._pasted(data) if self._pasting else self._typed(data)
            parts.append(part)
        return "".join(parts)

    def _typed(self, data: str) -> tuple[str, str]:
        """What to pass on of keys, and what follows the beginning of a paste. Nothing is held back: escape is a key."""
        joined = self._kept + data
        at = joined.find(BEGIN)
        if at < 0:
            self._kept = joined[1 - len(BEGIN) :]
            return data, ""
        end = at + len(BEGIN) - len(self._kept)
        self._pasting, self._kept = True, ""
        return data[:end], data[end:]

    def _pasted(self, data: str) -> tuple[str, str]:
        """What to pass on of a paste, and what follows its end."""
        joined = self._kept + data
        at = joined.find(END)
        if at < 0:
            held = max(size for size in range(len(END)) if joined.endswith(END[:size]))
            passed, self._kept = joined[: len(joined) - held], joined[len(joined) - held :]
            return passed.replace(ESCAPE, ""), ""
        self._pasting, self._kept = False, ""
        return joined[:at].replace(ESCAPE, "") + END, joined[at + len(END) :]


def guard(driver: type[Driver]) -> None:
    """Has a driver read its terminal with that parser. There is no public way: tests/ui/test_pasting.py pins this."""
    module = sys.modules[driver.__module__]
    if hasattr(module, "XTermParser"):
        setattr(module, "XTermParser", PasteParser)  # noqa: B010  # not a name that the module says it exports
