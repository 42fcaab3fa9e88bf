"""A warm model's turn on the card: waited for before it goes there, given back when it is idle and others wait."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from workbench.runs import lease


class Turn:
    """One model's place in the queue for the card. The models of one app or command hold the card together."""

    def __init__(self, title: str, on_wait: Callable[[str], None]) -> None:
        self._title = title
        self._on_wait = on_wait
        self._held = ExitStack()
        self._ticket: lease.Ticket | None = None

    def take(self) -> None:
        """Waits until the card is free. `on_wait` hears who holds it, whenever that changes, and nothing at the end."""
        heard: list[str] = []

        def hear(title: str) -> None:
            heard.append(title)
            self._on_wait(title)

        group = f"the models of process {os.getppid()}"
        self._ticket = self._held.enter_context(lease.hold(self._title, group=group, on_wait=hear))
        if heard:
            self._on_wait("")

    def give_back(self) -> None:
        """The card is for others."""
        self._ticket = None
        self._held.close()

    @property
    def held(self) -> bool:
        return self._ticket is not None

    @property
    def wanted_by(self) -> str:
        """Who waits for the card that this model is on; empty where nobody does."""
        waiting = lease.waiting_for(self._ticket) if self._ticket is not None else None
        return waiting.title if waiting is not None else ""
