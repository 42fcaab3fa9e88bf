"""What screens say to the app. Screens never import each other: they post one of these and the app routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from workbench.exported import Part
    from workbench.next_step import NextStep, Progress


@dataclass
class GoTo(Message):
    """Show the screen of that mode: 'home', 'models', 'data', ..."""

    mode: str


@dataclass
class OpenRun(Message):
    """Show a run's live screen."""

    run_id: str


@dataclass
class OpenTrain(Message):
    """Show the training form. `parent` is the run to start from, None for the base or the form's own suggestion."""

    method: str | None = None
    parent: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings that the form begins with."""


@dataclass
class OpenSample(Message):
    """Show the Sample screen with that run as the source; None is the base."""

    source: str | None = None


@dataclass
class OpenExport(Message):
    """Show the Export screen with that run chosen."""

    run_id: str


@dataclass
class OpenChat(Message):
    """Show the Chat screen with that model: a run's id, or the path of a GGUF file."""

    model: str


@dataclass
class OpenCompare(Message):
    """Hear an exported file blind beside the run it was made from."""

    part: Part


@dataclass
class RunLaunched(Message):
    """A run was ordered and its worker started."""

    run_id: str


@dataclass
class ProjectChanged(Message):
    """The store or the list of runs holds something new; `what` says it in words for the status row, or nothing."""

    what: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class NextStepKnown(Message):
    """The engine has worked out what the person could do next."""

    progress: Progress
    step: NextStep
