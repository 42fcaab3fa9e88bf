"""What makes the screens' tests quick, without changing what they see.

Textual's pilot takes the app for idle once the whole process has used no CPU for 20 ms, twice a key: most of a test was
that, and on a busy machine it gave up after a second. And each app parses the same style sheets anew.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from textual.css.stylesheet import Stylesheet

PATIENCE_SECONDS = 1.0

_parse = Stylesheet._parse_rules
_parsed: dict[Any, Any] = {}


async def drained(min_sleep: float = 0.0, max_sleep: float = PATIENCE_SECONDS) -> None:
    """Waits until the event loop has nothing that it could run now: every message is handled, timers and threads aside."""
    loop: Any = asyncio.get_running_loop()
    end = time.monotonic() + max_sleep
    await asyncio.sleep(0)
    while loop._ready and time.monotonic() < end:
        await asyncio.sleep(0)


def parsed_once(self: Stylesheet, css: str, read_from: Any, *args: Any, **named: Any) -> Any:
    """The rules of a style sheet, parsed by the first app that has it with these colours."""
    key = (css, read_from, args, tuple(named.items()), tuple(self._variables.items()))
    if key not in _parsed:
        _parsed[key] = _parse(self, css, read_from, *args, **named)
    return _parsed[key]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textual.app.wait_for_idle", drained)
    monkeypatch.setattr("textual.pilot.wait_for_idle", drained)
    monkeypatch.setattr(Stylesheet, "_parse_rules", parsed_once)
