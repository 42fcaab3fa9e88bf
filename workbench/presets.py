"""Presets: TOML files with the settings that suit a card, resolved into a complete set for one method.

A preset states only what differs from the fields' defaults. Order of precedence, weakest first: field default,
method default, preset `[all]`, preset `[<method>]`, the person's own changes. A way of tuning that is chosen after the
learning rate was brings its own: the rate was meant for an adapter.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import fields, methods, paths
from workbench.errors import InputError, SettingError
from workbench.fields import Value
from workbench.methods.shared import RATE_FACTORS

MAX_PRESET_BYTES = 256_000
"""A preset is a page of text; anything longer is not one."""


@dataclass(frozen=True)
class Preset:
    """One card's settings. `costs` says in a sentence what it needs and what it buys."""

    name: str
    title: str
    costs: str
    card_gb: float = 0.0
    """Memory of the card it is made for; 0 is a machine without one."""
    sections: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    path: Path | None = None

    def settings(self, method_name: str, changes: Mapping[str, Any] | None = None) -> dict[str, Value]:
        """The complete settings for a method, the person's `changes` last. A SettingError names a wrong key."""
        method = methods.get(method_name)
        known = method.all_fields
        layers = [fields.defaults(known), dict(method.defaults)]
        for section in ("all", method_name):
            where = f"preset {self.name} [{section}]"
            layers.append(fields.check(self.sections.get(section, {}), known, where=where))
        layers.append(fields.check(changes or {}, known))
        settled = {name: value for layer in layers for name, value in layer.items()}
        if _last(layers, "how") > _last(layers, "learning_rate"):
            settled["learning_rate"] = float(settled["learning_rate"]) * RATE_FACTORS.get(str(settled["how"]), 1.0)
        return settled


def _last(layers: list[dict[str, Value]], name: str) -> int:
    """The place of the strongest layer that names a setting."""
    return max(place for place, layer in enumerate(layers) if name in layer)


def read_preset(path: Path) -> Preset:
    """The preset in a TOML file; a SettingError or InputError that names the file where it is wrong."""
    try:
        if path.stat().st_size > MAX_PRESET_BYTES:
            raise InputError(
                f"{path.name} is too long for a preset.", "A preset is a page of TOML; see presets/ for examples."
            )
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The preset {path} cannot be read ({error.strerror}).", "Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"The preset {path.name} is not valid TOML: {error}.", "Mend that line and try again."
        ) from None
    return _preset_from_table(table, path)


def _preset_from_table(table: dict[str, Any], path: Path) -> Preset:
    heading = {"title": str, "costs": str, "card_gb": (int, float)}
    sections: dict[str, dict[str, Value]] = {}
    for name, value in table.items():
        if name in heading:
            if not isinstance(value, heading[name]):  # type: ignore[arg-type]  # a class or a tuple of classes
                raise SettingError(f"preset {path.stem}: {name} has the wrong kind of value ({value!r}).")
        elif isinstance(value, dict):
            sections[name] = fields.check(value, _fields_of(name, path), where=f"preset {path.stem} [{name}]")
        else:
            near = difflib.get_close_matches(name, heading, n=1)
            hint = (
                f"Did you mean {near[0]}?"
                if near
                else "Settings belong under [all] or under a method's name, such as [sft]."
            )
            raise SettingError(f"preset {path.stem}: {name!r} does not belong at the top.", hint)
    return Preset(
        name=path.stem,
        title=table.get("title", path.stem),
        costs=table.get("costs", ""),
        card_gb=float(table.get("card_gb", 0.0)),
        sections=sections,
        path=path,
    )


def _fields_of(section: str, path: Path) -> tuple[fields.Field, ...]:
    if section == "all":
        return methods.SHARED
    try:
        return methods.get(section).all_fields
    except SettingError as error:
        raise SettingError(f"preset {path.stem}: {error.message}", error.hint) from None


def _files(*folders: Path) -> dict[str, Path]:
    """Preset files by name: those shipped, the person's own, those of `folders`; a later one replaces an earlier."""
    places = (paths.PRESETS, paths.home() / "presets", *folders)
    return {path.stem: path for folder in places for path in sorted(folder.glob("*.toml"))}


def all_presets(*folders: Path) -> list[Preset]:
    """The presets that can be used, by size of card. `broken` tells of the person's that cannot."""
    found = []
    for path in _files(*folders).values():
        try:
            found.append(read_preset(path))
        except InputError:
            if path.parent == paths.PRESETS:
                raise
    return sorted(found, key=lambda preset: (preset.card_gb, preset.name))


def broken(*folders: Path) -> list[InputError]:
    """What is wrong with each preset that cannot be used."""
    errors = []
    for path in _files(*folders).values():
        try:
            read_preset(path)
        except InputError as error:
            errors.append(error)
    return errors


def get(name: str, *folders: Path) -> Preset:
    """The preset of that name, or in that TOML file; a SettingError with the nearest name otherwise."""
    if name.endswith(".toml"):
        return read_preset(Path(name))
    files = _files(*folders)
    if name not in files:
        near = difflib.get_close_matches(name, files, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(files)}."
        raise SettingError(f"There is no preset called {name!r}.", hint)
    return read_preset(files[name])


def for_card(vram_gb: float, presets: list[Preset]) -> Preset:
    """The largest preset that the card holds; the CPU's where there is no card."""
    fitting = [p for p in presets if p.card_gb <= vram_gb + 0.5]  # cards report a little less than they are sold as
    return max(fitting or presets, key=lambda preset: preset.card_gb)
