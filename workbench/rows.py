"""What a training method needs, made of a project: rows ready to be frozen into a run's folder.

One entry a kind of data, so that a method says what it needs in one word and the forms can count it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench import examples, thumbs
from workbench.bench import Bench
from workbench.errors import InputError
from workbench.methods import Needs
from workbench.records import turns_to_json

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """One kind of data: how its rows are made, and what to do where there are none."""

    rows: Callable[[Bench, str], Rows]
    """Of the judges named that count, where judging made them."""
    hint: str
    lack: str
    """The hint as keys to press, for the form."""


def of(bench: Bench, needs: Needs, judges: str = "") -> Rows:
    """The project's rows of that kind, of the judges that count; an InputError where there are none."""
    source = SOURCES[needs]
    found = source.rows(bench, judges)
    if not found:
        named = f" by {judges}" if judges else ""
        there = ", ".join(bench.store.judges()) if judges else ""
        hint = f"There are rankings by {there}." if there else source.hint
        raise InputError(f"There are no {NAMES[needs]}{named} to train on.", hint)
    return found


@dataclass(frozen=True)
class Counts:
    """How many rows of each kind a project makes."""

    rows: dict[Needs, int]
    answered: int
    """Prompts with a known answer."""


def counts(bench: Bench) -> Counts:
    """How many rows of each kind the project makes, whoever judged."""
    found = {needs: source.rows(bench, "") for needs, source in SOURCES.items()}
    answered = sum(bool(row["answer"]) for row in found["prompts"])
    return Counts({needs: len(rows) for needs, rows in found.items()}, answered)


def _demonstrations(bench: Bench, _: str) -> Rows:
    return examples.sft_rows(bench.store.demonstrations())


def _pairs(bench: Bench, judges: str) -> Rows:
    return examples.dpo_rows(examples.all_pairs(bench.store, judges=judges))


def _rankings(bench: Bench, judges: str) -> Rows:
    return examples.all_rankings(bench.store, judges=judges)


def _thumbs(bench: Bench, judges: str) -> Rows:
    return thumbs.rows(thumbs.all_thumbs(bench.store, judges=judges))


def _prompts(bench: Bench, _: str) -> Rows:
    return [
        {"prompt": turns_to_json(prompt.turns), "answer": prompt.answer or "", "kind": prompt.kind}
        for prompt in bench.store.prompts()
    ]


_RANK = "Rank some completions first: workbench rank, or press 5."
_IMPORT = "Import some: workbench import FILE, or press 3."

NAMES: dict[Needs, str] = {
    "demonstrations": "demonstrations",
    "pairs": "preference pairs",
    "rankings": "rankings",
    "thumbs": "answers called good or bad",
    "prompts": "prompts",
}

SOURCES: dict[Needs, Source] = {
    "demonstrations": Source(_demonstrations, _IMPORT, "3 then i imports some"),
    "pairs": Source(_pairs, _RANK, "5 ranks answers, which makes pairs"),
    "rankings": Source(_rankings, _RANK, "5 ranks answers"),
    "thumbs": Source(_thumbs, _RANK, "5 ranks answers, which calls them good or bad"),
    "prompts": Source(_prompts, _IMPORT, "3 then i imports some"),
}
