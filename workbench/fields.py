"""A Field is declared once and becomes a form row, a TOML key and a `--set` flag.

This module knows how to check and parse one value; which fields exist is said by the methods and by `SHARED`
in `workbench/methods/shared.py`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import SettingError

Value = bool | int | float | str


@dataclass(frozen=True)
class Field:
    """One setting: its kind is its default's kind. `help` is what the person reads on screen."""

    name: str
    default: Value
    label: str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    group: str = "training"
    """How the form groups it: model, training, data, saving, or the method's own name."""
    advanced: bool = False
    """Hidden until the person asks for all fields."""
    zero: str = ""
    """What 0 means, in a word: shown in its place, and understood."""
    why_fewer: str = ""
    """Why a choice that the person may know from elsewhere is not offered here."""

    def parse(self, value: Any) -> Value:
        """`value` (from TOML, a form or `--set`) as this field's kind, within its bounds; else a SettingError."""
        parsed = self._convert(value)
        if self.choices and parsed not in self.choices:
            raise SettingError(
                f"{self.name} = {value!r} is not one of: {', '.join(self.choices)}.", self._nearest(value)
            )
        if isinstance(parsed, int | float) and not isinstance(parsed, bool):
            self._check_bounds(parsed)
        return parsed

    def _convert(self, value: Any) -> Value:
        kind = type(self.default)
        if self.zero and value == self.zero:
            value = 0
        try:
            if kind is bool:
                return _to_bool(value)
            if kind is str:
                if not isinstance(value, str):
                    raise ValueError
                return value
            if isinstance(value, bool):
                raise ValueError
            if kind is int:
                number = float(value)
                if number != int(number):
                    raise ValueError
                return int(number)
            return float(value)
        except (TypeError, ValueError, OverflowError):
            word = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]
            raise SettingError(f"{self.name} = {value!r} is not {word}.", f"The default is {self.default!r}.") from None

    def _check_bounds(self, number: float) -> None:
        if not math.isfinite(number):
            raise SettingError(f"{self.name} = {number} is not a finite number.", f"The default is {self.default!r}.")
        if self.low is not None and number < self.low:
            raise SettingError(f"{self.name} = {number:,.9g} is below its least value {self.low:,.9g}.", self.help)
        if self.high is not None and number > self.high:
            raise SettingError(f"{self.name} = {number:,.9g} is above its greatest value {self.high:,.9g}.", self.help)

    def _nearest(self, value: Any) -> str:
        near = difflib.get_close_matches(str(value), self.choices, n=1)
        return f"Did you mean {near[0]}?" if near else self.why_fewer


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError


def check(values: Mapping[str, Any], fields: Iterable[Field], *, where: str = "") -> dict[str, Value]:
    """`values` parsed by their fields. An unknown key is a SettingError naming the nearest known one."""
    by_name = {field.name: field for field in fields}
    parsed: dict[str, Value] = {}
    for name, value in values.items():
        field = by_name.get(name)
        if field is None:
            near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(by_name))}."
            there = f"{where}: there" if where else "There"
            raise SettingError(f"{there} is no setting called {name!r}.", hint)
        parsed[name] = field.parse(value)
    return parsed


def defaults(fields: Iterable[Field]) -> dict[str, Value]:
    """Every field at its default."""
    return {field.name: field.default for field in fields}


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """`["beta=0.2"]` as `{"beta": "0.2"}`; a SettingError where the equals sign is missing."""
    pairs: dict[str, str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise SettingError(f"--set {text!r} is not of the form key=value.", "For example: --set learning_rate=1e-4")
        pairs[name.strip().replace("-", "_")] = value.strip()
    return pairs
