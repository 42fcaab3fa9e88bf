"""The screens in plain ASCII, for `--ascii` and for terminals that have no other letters.

Widgets draw as ever; every sign of ours is exchanged for a plain one of the same width on its way to the terminal, so
that no widget knows of it. Letters of the person's own texts stay where the terminal can show them.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Mapping

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

PLAIN_TERMINALS = frozenset({"ansi", "cons25", "dumb", "linux", "vt52", "vt100", "vt102", "vt220"})
"""Values of TERM whose terminals have no braille, boxes or check marks (the Linux console has a font of 512 signs)."""

DENSITY = " ..::**##"
"""A cell of a chart by how many of its eight dots are set."""

_SIGNS = {
    "·": "-", "…": "~", "–": "-", "—": "-", "−": "-", "×": "x", "±": "~", "κ": "k", "→": ">", "←": "<", "↑": "^",
    "↓": "v", "↵": "$", "‹": "<", "›": ">", "•": "*", "‣": "*", "≤": "<", "≥": ">", "≠": "!", "≈": "~", "∙": ".",
    "✓": "+", "✗": "x", "†": "X", "⚑": "!", "✎": "#", "●": "o", "○": ".", "◦": ".", "◆": "%", "◌": ".", "◧": "/",
    "■": "#", "▪": "*", "▲": "^", "▶": ">", "▼": "v", "◀": "<", "⏎": "$", "⌫": "<", "’": "'", "‘": "'", "“": '"',
    "”": '"', "🔎": "? ", "☕": "  ", "⭘": "o", "⭑": "*", "€": "E",
}  # fmt: skip
_BLOCKS = {
    **dict(zip("▁▂▃▄▅▆▇█", "_.,-=+*#", strict=True)),
    **dict.fromkeys("▏▎▍▌▋▊▉▐▕", "|"),
    **dict.fromkeys("▀▔", "-"),
    **dict.fromkeys("▖▗▘▙▛▜▝▟", "+"),
    **dict(zip("░▒▓", ".:#", strict=True)),
}
_BOXES = {
    **{chr(code): "+" for code in range(0x2500, 0x2580)},
    **dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺╼╾", "-"),
    **dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻╽╿", "|"),
    **{"╱": "/", "╲": "\\", "╳": "x"},
}
_BRAILLE = {chr(0x2800 + dots): DENSITY[dots.bit_count()] for dots in range(256)}

TABLE = str.maketrans({**_SIGNS, **_BLOCKS, **_BOXES, **_BRAILLE})
"""Every sign that we or Textual draw, and the plain one in its place."""


class AsciiOnly(LineFilter):
    """Exchanges what widgets have drawn. A letter that the terminal's encoding lacks becomes `?`."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [segment if segment.control or segment.text.isascii() else self._plain(segment) for segment in segments]

    def _plain(self, segment: Segment) -> Segment:
        text = segment.text.translate(TABLE)
        if not text.isascii():
            text = "".join(letter if self._has(letter) else "?" * cell_len(letter) for letter in text)
        return Segment(text, segment.style, segment.control)

    def _has(self, letter: str) -> bool:
        try:
            return bool(letter.encode(self._encoding))
        except UnicodeEncodeError:
            return False


def terminal_encoding() -> str:
    """The encoding of what Textual writes to."""
    stream = sys.__stderr__
    return (stream.encoding if stream is not None else None) or "ascii"


def is_plain(environment: Mapping[str, str], encoding: str) -> bool:
    """Whether a terminal can only show plain letters: its name or its encoding says so."""
    try:
        unicode = codecs.lookup(encoding).name.startswith(("utf", "gb18030"))
    except LookupError:
        unicode = False
    return not unicode or environment.get("TERM", "").partition("-")[0] in PLAIN_TERMINALS
