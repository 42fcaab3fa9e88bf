"""What a training method needs, made of a project: rows ready to be frozen into a run's folder.

One entry a kind of data, so that a method says what it needs in one word and the forms can count it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench import examples
from workbench.bench import Bench
from workbench.errors import InputError
from workbench.methods import Needs
from workbench.records import turns_to_json

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """One kind of data: how its rows are made, and what to do where there are none."""

    rows: Callable[[Bench], Rows]
    hint: str
    lack: str
    """The hint as keys to press, for the form."""


def of(bench: Bench, needs: Needs) -> Rows:
    """The project's rows of that kind; an InputError where there are none."""
    source = SOURCES[needs]
    found = source.rows(bench)
    if not found:
        raise InputError(f"There are no {NAMES[needs]} to train on.", source.hint)
    return found


def counts(bench: Bench) -> dict[Needs, int]:
    """How many rows of each kind the project makes."""
    return {needs: len(source.rows(bench)) for needs, source in SOURCES.items()}


def _demonstrations(bench: Bench) -> Rows:
    return examples.sft_rows(bench.store.demonstrations())


def _pairs(bench: Bench) -> Rows:
    return examples.dpo_rows(examples.all_pairs(bench.store))


def _prompts(bench: Bench) -> Rows:
    return [
        {"prompt": turns_to_json(prompt.turns), "answer": prompt.answer or "", "kind": prompt.kind}
        for prompt in bench.store.prompts()
    ]


_RANK = "Rank some completions first: workbench rank, or press 5."
_IMPORT = "Import some: workbench import FILE, or press 3."

NAMES: dict[Needs, str] = {"demonstrations": "demonstrations", "pairs": "preference pairs", "prompts": "prompts"}

SOURCES: dict[Needs, Source] = {
    "demonstrations": Source(_demonstrations, _IMPORT, "3 then i imports some"),
    "pairs": Source(_pairs, _RANK, "5 ranks answers, which makes pairs"),
    "prompts": Source(_prompts, _IMPORT, "3 then i imports some"),
}
