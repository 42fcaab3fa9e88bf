"""Tags of demonstrations (quality, topic, source) as a control prefix: conditional training, and asking by it.

The prefix is `[quality: high] [topic: birds]` and a line break, names in alphabetical order, before the text of the
last user turn. It is part of what the model is given, so it never carries loss. A share of the rows goes without, so
that the model answers untagged questions too (Keskar et al. 2019; Dong et al. 2023).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbench.errors import SettingError
from workbench.records import digest

COLUMNS = ("quality", "topic", "source")
"""Columns of a data file that are taken for tags; any others stand in a table or a list called `tags`."""

LONGEST = 80
"""Characters of a tag's value: a longer text is no tag."""

NAME = re.compile(r"[A-Za-z][\w -]{0,39}")
_SPECIAL = re.compile(r"[\[\]\r\n]+")

Row = dict[str, Any]


def parse(text: str) -> dict[str, str]:
    """`quality=high, topic=birds` by name; a SettingError where it is not of that form."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not NAME.fullmatch(name) or not (value := clean(value)):
            raise SettingError(f"{part!r} is not a tag.", "Write name=value, for example quality=high.")
        found[name] = value
    return found


def names_in(text: str) -> list[str]:
    """The names in `quality, topic`, in alphabetical order."""
    return sorted({name.strip() for name in text.split(",") if name.strip()})


def clean(value: object) -> str:
    """A value as it is written into a prefix; "" where it is none."""
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return _SPECIAL.sub(" ", text).strip() if len(text) <= LONGEST else ""


def tags_of(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The tags of a data file's row: its columns of that name, and its `tags` as a table, list or text."""
    found = {name: clean(row.get(name)) for name in COLUMNS}
    given = row.get("tags")
    if isinstance(given, Mapping):
        found |= {str(name).strip(): clean(value) for name, value in given.items()}
    elif isinstance(given, str | list):
        parts = given.split(",") if isinstance(given, str) else [part for part in given if isinstance(part, str)]
        pairs = (re.split(r"[=:]", part, maxsplit=1) for part in parts)
        found |= {pair[0].strip(): clean(pair[1]) for pair in pairs if len(pair) == 2}
    return tuple(sorted((name, value) for name, value in found.items() if value and NAME.fullmatch(name)))


def written(tags: Mapping[str, str]) -> str:
    """The control prefix; "" for no tags."""
    return " ".join(f"[{name}: {tags[name]}]" for name in sorted(tags)) + "\n" if tags else ""


def applied(turns: Sequence[Mapping[str, str]], tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The turns with the prefix before the last one of the user."""
    said = [dict(turn) for turn in turns]
    places = [place for place, turn in enumerate(said) if turn["role"] == "user"]
    if tags and places:
        said[places[-1]]["content"] = written(tags) + said[places[-1]]["content"]
    return said


def conditioned(rows: Iterable[Row], names: Sequence[str], dropped: float, seed: int) -> list[Row]:
    """Rows with the prefix of those of their tags that are named; without in a share `dropped`, drawn by their text."""
    return [
        {**row, "prompt": applied(row["prompt"], kept)}
        if (kept := {name: value for name, value in row.get("tags", {}).items() if name in names})
        and _lot(row, seed) >= dropped
        else row
        for row in rows
    ]


def _lot(row: Row, seed: int) -> float:
    """A number in [0, 1) drawn by the seed and the row's text, so that it is the same tomorrow."""
    return int(digest("tags", seed, row["prompt"], row["completion"])[:13], 16) / 16**13


def check_known(names: Iterable[str], rows: Iterable[Row]) -> None:
    """A SettingError where no row has a tag of that name."""
    known = sorted({name for row in rows for name in row.get("tags", {})})
    for name in names:
        if name not in known:
            raise SettingError(
                f"No demonstration has a tag called {name!r}.",
                f"There are: {', '.join(known)}." if known else "Import a file with a column quality, topic or source.",
            )
