"""What makes the screens' tests quick, without changing what they see.

Textual's pilot takes the app for idle once the whole process has used no CPU for 20 ms, twice a key: most of a test was
that, and on a busy machine it gave up after a second. It holds the drawing of another screen back for 50 ms. And each
app parses the same style sheets anew. A terminal shows each step of a change; no test looks before it is over, so the
picture is made then, once.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import pytest
from textual._context import active_app
from textual.app import App
from textual.css.stylesheet import Stylesheet
from textual.screen import Screen

PATIENCE_SECONDS = 1.0

_hold_back = App.delay_update
_parse = Stylesheet._parse_rules
paint_at_once = Screen._compositor_refresh
_parsed: dict[Any, Any] = {}
_unpainted: WeakSet[Screen[Any]] = WeakSet()


async def drained(min_sleep: float = 0.0, max_sleep: float = PATIENCE_SECONDS) -> None:
    """Waits until every message is handled and the screen is drawn; only timers and threads can bring more."""
    loop: Any = asyncio.get_running_loop()
    app = active_app.get()
    end = time.monotonic() + max_sleep
    while time.monotonic() < end:
        await asyncio.sleep(0)
        if loop._ready:
            continue
        if not app._running or not app.screen_stack:
            return
        if app._batch_count:  # a change of screens holds the drawing back for a moment
            await asyncio.sleep(0.001)
            continue
        screen = app.screen_stack[-1]
        if waits_for_drawing(screen):
            screen._on_timer_update()
        elif screen in _unpainted:
            _unpainted.discard(screen)
            paint_at_once(screen)
        else:
            return


def waits_for_drawing(screen: Screen[Any]) -> bool:
    """Whether the next frame has something to do."""
    return bool(
        screen._layout_required
        or screen._scroll_required
        or screen._repaint_required
        or screen._recompose_required
        or screen._dirty_widgets
        or screen._callbacks
    )


def held_back_shortly(self: App[Any], delay: float = 0.0) -> None:
    """The drawing is held back while screens change, as in Textual, but no longer than that takes."""
    _hold_back(self, 0.001)


def parsed_once(self: Stylesheet, css: str, read_from: Any, *args: Any, **named: Any) -> Any:
    """The rules of a style sheet, parsed by the first app that has it with these colours."""
    key = (css, read_from, args, tuple(named.items()), tuple(self._variables.items()))
    if key not in _parsed:
        _parsed[key] = _parse(self, css, read_from, *args, **named)
    return _parsed[key]


def painted_once(self: Screen[Any]) -> None:
    """Leaves the picture to `drained`, which makes it when nothing is left to do; what lies behind goes on as ever."""
    if self is self.app.screen and not self.app.is_inline:
        _unpainted.add(self)
        self._dirty_widgets.clear()
    else:
        paint_at_once(self)


@pytest.fixture(autouse=True, scope="package")
def _quick() -> Iterator[None]:
    """Of the package, so that it is there for those who walk through all screens once for a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textual.app.wait_for_idle", drained)
        patch.setattr("textual.pilot.wait_for_idle", drained)
        patch.setattr(App, "delay_update", held_back_shortly)
        patch.setattr(Stylesheet, "_parse_rules", parsed_once)
        patch.setattr(Screen, "_compositor_refresh", painted_once)
        for name in ("collect", "freeze"):  # what Rank does once it has read all decisions: here it opens sixty times
            patch.setattr(gc, name, lambda: 0)
        yield
