"""What a person likes in every project, such as the theme: a small JSON file in their own folder.

A convenience: where it cannot be read it is empty, where it cannot be written nothing else suffers.
"""

from __future__ import annotations

import contextlib
import json

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
