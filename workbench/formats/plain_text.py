"""Plain text: rows of 'text', or the passages of a .txt file.

Everything here is a prompt and an answer, so a text becomes its beginning and how it goes on: the beginning ends with
the first paragraph if there are several, else with the first line or sentence, else with the first half of the words. A
text that is a written-out dialogue of Human: and Assistant: is read as one.
"""

from __future__ import annotations

import re

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.turns import demonstrations_of, is_transcript, kind_of, prompt_of, text_of, transcript
from workbench.records import NewPrompt

BOUNDARIES = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?。！？])\s+"))
"""Ends of a paragraph, a line, a sentence."""
FEWEST_WORDS = 4
"""A shorter text without a sentence end has nothing to go on with."""


def fits(row: Row) -> bool:
    return isinstance(row.get("text"), str) and not {"label", "labels"} & set(row)


def parse(row: Row) -> Parsed:
    text = text_of(row, "text")
    if is_transcript(text):
        return demonstrations_of(transcript(text), kind_of(row))
    beginning, rest = _split(text.strip())
    return Parsed(demonstrations=((NewPrompt(prompt_of(beginning), kind=kind_of(row)), rest),))


def _split(text: str) -> tuple[str, str]:
    for boundary in BOUNDARIES:
        found = boundary.search(text)
        if found:
            return text[: found.start()], text[found.end() :]
    words = text.split()
    if len(words) < FEWEST_WORDS:
        raise BadRow("the text is too short: nothing follows its beginning")
    half = len(words) // 2
    return " ".join(words[:half]), " ".join(words[half:])


LAYOUT = Layout(
    name="text",
    label="plain text",
    keys="'text'",
    precedence=90,
    fits=fits,
    parse=parse,
)
