"""The demo's progress on the terminal: one line a stage, a bar for the run at work."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from workbench.output import Bar, Output
from workbench.runs.following import Narrator, at_a_glance

if TYPE_CHECKING:
    from workbench.live import Follower
    from workbench.runs import Run


class Stages:
    """What the demo tells of itself, on stderr."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._open = contextlib.ExitStack()
        self._run = ""
        self._bar: Bar | None = None
        self._narrator = Narrator()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def stage(self, title: str) -> None:
        """A new stage begins."""
        self._open.close()
        self._output.say(f"· {title}")

    def look(self, run: Run, follower: Follower) -> None:
        """A look at the run at work."""
        if run.id != self._run or self._bar is None:
            self._open.close()
            self._run, self._narrator = run.id, Narrator()
            self._bar = self._open.enter_context(self._output.bar(run.title))
        for sentence in self._narrator.news(follower):
            self._bar.say(f"  {sentence}")
        self._bar.advance(follower.status.step, follower.status.total_steps, at_a_glance(follower.live))
