"""Keys that come in one go take effect in the order in which they were typed.

Textual gives a letter to the input that has the focus at once, but a key that is bound to an action goes up through
every container first: of `backspace 7` in one go the backspace took away the 7, and of `enter s` the s was written
into the line that enter closes. That happens wherever the app is late to read: over a slow line, or beside a training
run that holds every core. So the next key waits until the one before has come all the way up.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from textual import events
from textual.app import App
from textual.message_pump import MessagePump

ROUNDS = 2
"""The key itself, and then what it made the focused widget tell its containers."""

PATIENCE_SECONDS = 0.25
"""A key whose widget went meanwhile holds up the others no longer than this."""


class TypingOrderApp(App[int]):
    """An app in which no key overtakes another one, nor a paste."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._typed: deque[events.Key | events.Paste] = deque()
        self._working: events.Key | events.Paste | None = None
        self._since = 0.0

    async def on_event(self, event: events.Event) -> None:
        """What comes from the terminal waits its turn; what has come up through the containers is the app's to use."""
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        self._typed.append(event)
        if self._working is None:
            await self._next()
        else:
            self.set_timer(PATIENCE_SECONDS, self._lose_patience)

    async def _next(self) -> None:
        if not self._typed:
            return
        event = self._working = self._typed.popleft()
        self._since = time.monotonic()
        target = self._lowest()
        await super().on_event(event)
        self._follow(event, target, ROUNDS)

    def _lowest(self) -> MessagePump:
        """Where a key goes first."""
        return self if not self.screen_stack else self.focused or self.screen

    def _follow(self, event: events.Event, node: MessagePump, rounds: int) -> None:
        """Asks each widget above in turn to say when it has read what was sent to it so far."""
        above = node._parent
        while not node.call_later(self._read_by, event, above, rounds) and above is not None:
            node, above = above, above._parent

    async def _read_by(self, event: events.Event, above: MessagePump | None, rounds: int) -> None:
        if self._working is not event:
            return
        if above is not None:
            self._follow(event, above, rounds)
        elif rounds > 1:
            self._follow(event, self._lowest(), rounds - 1)
        else:
            self._working = None
            await self._next()

    async def _lose_patience(self) -> None:
        if self._working is not None and time.monotonic() - self._since >= PATIENCE_SECONDS:
            self._working = None
            await self._next()
