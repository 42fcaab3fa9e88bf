"""From a data file to the store: the layout guessed and shown, every bad row named, nothing half imported.

It reads the whole file before it writes anything, and then writes in one transaction.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from workbench import formats
from workbench.containers import RawRow, open_rows
from workbench.errors import FormatError, InputError
from workbench.formats import BadRow, Layout, Parsed, Ranked
from workbench.importing.survey import warnings
from workbench.records import Conversation, ImportReport, NewPrompt, Split
from workbench.store import Store
from workbench.store.texts import ImportedRanking
from workbench.tags import tags_of

SAMPLE_ROWS = 200
"""Rows looked at to guess the layout and to show on the Data screen."""
BAD_ROWS_TOLD = 3
"""Bad rows named in the sentence that refuses a file."""
OTHER_LAYOUT = f"choose another layout with --as: {', '.join(formats.names())}"
"""How the command line's person gets another layout; a screen has its own way."""


@dataclass(frozen=True)
class Guess:
    """Which layout a file seems to have, what else it could be, and why, so that a screen can show it and swap."""

    layout: Layout
    runner_up: Layout | None
    why: str
    others: tuple[Layout, ...] = ()
    """Every layout that at least half of the sampled rows fit, the guess first."""


@dataclass(frozen=True)
class Preview:
    """A file's beginning as it would be imported. `layout` is None where no layout fits, and `why` says so."""

    path: Path
    layout: Layout | None
    runner_up: Layout | None
    why: str
    rows: tuple[tuple[int, Parsed], ...] = ()
    """(line, what it holds) of the sampled good rows."""
    rejected: tuple[tuple[int, str], ...] = ()
    warnings: tuple[str, ...] = ()
    """What a person should know of them, in sentences."""
    complete: bool = True
    """Whether the sample is the whole file."""

    @property
    def mostly_bad(self) -> bool:
        """Whether a file of such rows is refused; certain only where the sample is complete."""
        return self.layout is not None and _mostly_bad(self.rows, self.rejected)

    @property
    def refused(self) -> bool:
        """Whether an import would be refused for sure."""
        return self.complete and self.mostly_bad


def detect(rows: Sequence[Any], name: str = "") -> Guess:
    """The layout of these rows; a FormatError that names their file and keys where none fits half of them."""
    tables = [row for row in map(_table, rows) if row is not None]
    fitting = {layout: sum(layout.fits(row) for row in tables) for layout in formats.all_layouts()}
    candidates = [layout for layout, count in fitting.items() if count and 2 * count >= len(rows)]
    if not candidates:
        keys = [name for name, _ in Counter(key for row in tables for key in row).most_common(8)]
        seen = f"Its rows have: {', '.join(repr(key[:40]) for key in keys)}." if keys else "Its rows are not tables."
        known = f"Known layouts (--as): {', '.join(formats.names())}."
        raise FormatError(f"No known layout fits. {seen}", known, path=name)
    # by precedence, those whose rows can mostly be read before those that only have the right keys
    candidates.sort(key=lambda layout: 2 * _readable(layout, tables) < len(tables))
    chosen = candidates[0]
    count = fitting[chosen]
    share = f"all {count}" if count == len(rows) else f"{count} of {len(rows)}"
    runner_up = candidates[1] if len(candidates) > 1 else None
    return Guess(chosen, runner_up, f"{share} sampled rows have {chosen.keys}.", tuple(candidates))


def _readable(layout: Layout, tables: Iterable[dict[str, Any]]) -> int:
    return sum(isinstance(_parsed(layout, table), Parsed) for table in tables)


def _table(value: Any) -> dict[str, Any] | None:
    """A row as a table: a bare list of turns is one with its usual key."""
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return {"conversations" if "from" in value[0] else "messages": value}
    return value if isinstance(value, dict) else None


def _parsed(layout: Layout, value: Any) -> Parsed | str:
    """What the row holds, or why it cannot be used."""
    table = _table(value)
    if table is None:
        return "it is not a table of named values"
    try:
        parsed = layout.parse(table)
        return dataclasses.replace(parsed, tags=tags_of(table)) if parsed.demonstrations else parsed
    except BadRow as bad:
        return str(bad)


def read(rows: Iterable[RawRow], layout: Layout) -> Iterator[tuple[int, Parsed | str]]:
    """(line, what it holds or why it cannot be used) of every row."""
    for row in rows:
        yield row.line, row.bad or _parsed(layout, row.value)


def preview(path: Path, layout: str | None = None) -> Preview:
    """The file's first rows as they would be imported; nothing is stored."""
    file = open_rows(path)
    sample = list(islice(file.rows, SAMPLE_ROWS))
    complete = next(file.rows, None) is None
    try:
        guess = _guess(path, sample)
        chosen = formats.get(layout) if layout else guess.layout
        others = [other for other in guess.others if other != chosen]
        why, runner_up = guess.why if chosen == guess.layout else "You chose it.", others[0] if others else None
    except FormatError as error:
        if layout is None:
            told = str(error).replace(" (--as)", "")  # the flag is the command line's
            return Preview(path, None, None, told, complete=complete)
        chosen, runner_up, why = formats.get(layout), None, "You chose it."
    good, rejected = _sorted_out(read(sample, chosen))
    return Preview(path, chosen, runner_up, why, tuple(good), tuple(rejected), warnings(p for _, p in good), complete)


def _guess(path: Path, sample: Sequence[RawRow]) -> Guess:
    readable = [row.value for row in sample if not row.bad]
    if not readable:
        first = sample[0]
        raise FormatError(f"{first.bad}.", "Nothing was imported: no row can be read.", path=path.name, line=first.line)
    return detect(readable, path.name)


def _sorted_out(
    read_rows: Iterable[tuple[int, Parsed | str]],
) -> tuple[list[tuple[int, Parsed]], list[tuple[int, str]]]:
    good: list[tuple[int, Parsed]] = []
    rejected: list[tuple[int, str]] = []
    for line, found in read_rows:
        if isinstance(found, Parsed):
            good.append((line, found))
        else:
            rejected.append((line, found))
    return good, rejected


def _mostly_bad(good: Sequence[object], rejected: Sequence[object]) -> bool:
    return len(rejected) > len(good)


def import_file(
    store: Store,
    path: Path,
    layout: str | None = None,
    split: Split = "train",
    *,
    other_layout: str = OTHER_LAYOUT,
) -> ImportReport:
    """Imports the file's good rows in one transaction and names the bad ones.

    A FormatError, with nothing imported, where the file is not sound, no layout fits, or more than half of the rows
    are bad; an InputError where the same file was imported before. `layout` forces a layout by its name;
    `other_layout` is how the person can choose another, for the hint.
    """
    forced = formats.get(layout) if layout else None
    file = open_rows(path)
    if any(done.sha256 == file.sha256 for done in store.imports()):
        raise InputError(f"{path.name} has been imported already.", "Nothing was added a second time.")
    sample = list(islice(file.rows, SAMPLE_ROWS))
    guess = None if forced else _guess(path, sample)
    chosen = forced or (guess.layout if guess else formats.all_layouts()[0])
    good, rejected = _sorted_out(read(chain(sample, file.rows), chosen))
    if _mostly_bad(good, rejected):
        raise _refusal(path, chosen, rejected, len(good) + len(rejected), other_layout)
    content = _content([parsed for _, parsed in good], split)
    report = ImportReport(
        path=str(path),
        layout=chosen.name,
        rows_ok=len(good),
        rejected=tuple(rejected),
        runner_up=guess.runner_up.name if guess and guess.runner_up else "",
        sha256=file.sha256,
    )
    pairs = list(content.preferences)
    return store.add_import(report, content.prompts, content.tagged_answers, pairs, content.rankings)


def _refusal(path: Path, layout: Layout, rejected: list[tuple[int, str]], rows: int, other_layout: str) -> FormatError:
    line, why = rejected[0]
    others = "; ".join(f"line {number}: {reason}" for number, reason in rejected[1:BAD_ROWS_TOLD])
    return FormatError(
        f"{why}{f' ({others})' if others else ''}. {len(rejected):,} of {rows:,} rows cannot be read as "
        f"{layout.label}, so nothing was imported.",
        f"Mend the file, or {other_layout}.",
        path=path.name,
        line=line,
    )


@dataclass
class _Content:
    """Rows in the form the store takes: every prompt, answer and pair once, the latter two by their prompt's index."""

    prompts: list[NewPrompt] = field(default_factory=list)
    answers: dict[tuple[int, str], tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Of each answer its tags; of one that comes twice the first that it has."""
    preferences: dict[tuple[int, str, str], None] = field(default_factory=dict)
    ranked: dict[tuple[int, Ranked], None] = field(default_factory=dict)

    @property
    def rankings(self) -> list[ImportedRanking]:
        return [(place, ranked.answers, ranked.tiers, ranked.bad) for place, ranked in self.ranked]

    @property
    def tagged_answers(self) -> list[tuple[int, str, tuple[tuple[str, str], ...]]]:
        return [(*answer, tags) for answer, tags in self.answers.items()]


def _content(rows: Iterable[Parsed], split: Split) -> _Content:
    content = _Content()
    places: dict[Conversation, int] = {}

    def place(prompt: NewPrompt) -> int:
        if prompt.turns not in places:
            places[prompt.turns] = len(content.prompts)
            content.prompts.append(dataclasses.replace(prompt, split=split))
        return places[prompt.turns]

    for row in rows:
        for prompt, text in row.demonstrations:
            key = (place(prompt), text)
            content.answers[key] = content.answers.get(key) or row.tags
        content.preferences.update(((place(p), chosen, rejected), None) for p, chosen, rejected in row.preferences)
        content.ranked.update(((place(ranked.prompt), ranked), None) for ranked in row.rankings)
        for prompt in row.prompts:
            place(prompt)
    return content
