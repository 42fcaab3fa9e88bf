"""A model's settings files without what belongs to one person or one machine: its folders, its names, its secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PRIVATE = frozenset(
    ("_name_or_path", "name_or_path", "cache_dir", "token", "hf_token", "auth_token", "use_auth_token", "api_key")
)
"""Settings that libraries have written into model folders and that say where, or as whom, they were loaded."""

_SECRET = re.compile(r"\b(hf_|sk-|gh[opsu]_|glpat-|AKIA|xox[abp]-)[A-Za-z0-9_-]{12,}")
"""How tokens of the services that models come from begin."""

_PLACE = re.compile(r"^(/|~/|[A-Za-z]:[\\/]|file:)[^\s{}]*[\\/][^\s{}]+$")
"""A path with at least two parts: a token of a vocabulary may be a slash."""


def portable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that may travel."""
    return {
        name: portable(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if not _is_private(name, value)
    }


def _is_private(name: str, value: Any) -> bool:
    if name in PRIVATE:
        return True
    return isinstance(value, str) and bool(_SECRET.search(value) or _PLACE.match(value))
