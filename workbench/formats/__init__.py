"""Layouts of data files: one file = one layout, and this folder is the list.

A layout file holds `LAYOUT`: how to know a row of it and how to read one. A layout sees one row at a time, never a
file; files are the business of `workbench/containers/`, the store is that of `workbench/importing/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.records import NewPrompt
from workbench.registry import Registry

__all__ = ["BadRow", "Layout", "Parsed", "all_layouts", "get", "names"]

Row = dict[str, Any]


class BadRow(ValueError):  # noqa: N818  # it is a row, and what it says goes into the report as it is
    """Why a row cannot be used, as the rest of the sentence 'line 7: …'."""


@dataclass(frozen=True)
class Ranked:
    """Several answers to a prompt: `tiers` are places among them, best first, `bad` those bad in themselves."""

    prompt: NewPrompt
    answers: tuple[str, ...]
    tiers: tuple[tuple[int, ...], ...]
    bad: tuple[int, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """What one row holds. A multi-turn conversation holds several demonstrations."""

    demonstrations: tuple[tuple[NewPrompt, str], ...] = ()
    preferences: tuple[tuple[NewPrompt, str, str], ...] = ()
    """(prompt, chosen, rejected)."""
    rankings: tuple[Ranked, ...] = ()
    prompts: tuple[NewPrompt, ...] = ()
    """Prompts to sample, without an answer to imitate."""
    tags: tuple[tuple[str, str], ...] = ()
    """(name, value) of what is known of its demonstrations."""


@dataclass(frozen=True)
class Layout:
    """One dataset layout, as the importer and the Data screen need to know it."""

    name: str
    label: str
    keys: str
    """What its rows have, as the end of the sentence 'all 200 sampled rows have …'."""
    precedence: int
    """Where rows fit several layouts the lowest wins: preferences first, plain text last."""
    fits: Callable[[Row], bool]
    """Whether a row has this layout's keys and kinds of value; cheap, and says nothing of whether they are sound."""
    parse: Callable[[Row], Parsed]
    """The row's content; raises BadRow with the reason where it is not sound."""


_REGISTRY: Registry[Layout] = Registry(__name__, "LAYOUT", "layout")
get = _REGISTRY.get


def all_layouts() -> tuple[Layout, ...]:
    """Every layout there is, in order of precedence."""
    return tuple(sorted(_REGISTRY.all(), key=lambda layout: layout.precedence))


def names() -> tuple[str, ...]:
    """The names that `--as` takes."""
    return tuple(layout.name for layout in all_layouts())
