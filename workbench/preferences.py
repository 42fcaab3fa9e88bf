"""What a person likes in every project: what the app remembers of their choices, such as the theme, in a small JSON
file, and what they wrote themselves into `config.toml` beside it.

A convenience: what cannot be read is left out and told, and where nothing can be written nothing else suffers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench import paths


def get(name: str, default: str = "") -> str:
    """What the person chose for `name` before, or the default."""
    return _read().get(name, default)


def put(name: str, value: str) -> None:
    """Remembers a choice from now on."""
    file = paths.preferences_file()
    partial = file.with_suffix(".partial")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.write_text(json.dumps({**_read(), name: value}), encoding="utf-8")
        partial.replace(file)


def _read() -> dict[str, str]:
    try:
        row = json.loads(paths.preferences_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in row.items()} if isinstance(row, dict) else {}


@dataclass(frozen=True)
class Config:
    """What a person wrote into config.toml."""

    ascii: bool | None = None
    """Whether the screens are drawn in plain ASCII; None leaves it to the terminal."""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Keys by the id of what they do. Whether there are such keys and ids is the screens' to say."""
    problems: tuple[str, ...] = ()
    """A sentence about each thing in the file that means nothing."""


KNOWN = ("ascii", "keys")


def config() -> Config:
    """The person's config.toml, read anew; an empty one where there is none."""
    file = paths.config_file()
    if not file.is_file():
        return Config()
    import tomllib

    try:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Config(problems=(f"{file.name} cannot be read: {error}.",))
    problems = [f"{name}: there is no such setting{_near(name)}." for name in written if name not in KNOWN]
    wanted = written.get("ascii")
    if wanted is not None and not isinstance(wanted, bool):
        problems.append(f"ascii = {wanted!r}: it is true or false.")
        wanted = None
    given = written.get("keys", {})
    if not isinstance(given, dict):
        problems.append("keys: it is a table of names and keys, under a heading [keys].")
        given = {}
    keys = {name: _listed(value) for name, value in _flat(given).items()}
    problems += [f"{name}: its keys are a text, or a list of texts." for name, texts in keys.items() if not texts]
    return Config(wanted, {name: texts for name, texts in keys.items() if texts}, tuple(problems))


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """`rank.left = "h"` is a table within a table to TOML, and one name to a person."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def _listed(value: Any) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    return tuple(texts) if all(isinstance(text, str) and text for text in texts) else ()


def _near(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, KNOWN, n=1)
    return f"; the nearest is {near[0]}" if near else ""
