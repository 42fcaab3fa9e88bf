"""THE protocol between a worker and everybody who watches it: one JSON object a line in `events.jsonl`.

Fields are added with a default, never renamed or removed. A line that cannot be read becomes `Unreadable`, is
counted and shown. A metric that is not finite is `null` on disk and `None` here. This module never opens a file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import dataclass, field
from typing import Any, Literal

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Event:
    """Something that happened in a run, at `t` (Unix seconds)."""

    t: float = field(default_factory=time.time, kw_only=True)


@dataclass(frozen=True)
class Queued(Event):
    """The worker waits for the card, which `behind` holds."""

    behind: str = ""


@dataclass(frozen=True)
class Started(Event):
    """The worker has the card and begins. Written again on every resume, with the step it resumes from."""

    device: str = ""
    dtype: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    resumed_from: int | None = None
    hardware: str = ""
    """The card or processor it runs on, and its memory, in words."""


@dataclass(frozen=True)
class Phase(Event):
    """What the worker is busy with, in words: 'loading the base', 'training', 'checking the export'."""

    name: str = ""


@dataclass(frozen=True)
class Planned(Event):
    """What lies ahead, known once model and data are loaded."""

    total_steps: int = 0
    examples: int = 0
    held_out: int = 0
    trainable_parameters: int = 0
    total_parameters: int = 0


@dataclass(frozen=True)
class Step(Event):
    """One optimiser step (or, when sampling, one batch). `seconds` is its duration."""

    step: int = 0
    metrics: Metrics = field(default_factory=dict)
    seconds: float = 0.0
    tokens: int = 0


@dataclass(frozen=True)
class Evaluated(Event):
    """Metrics on held-out data at a step."""

    step: int = 0
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Watched(Event):
    """What the model answers to the fixed prompts at a step: [prompt, answer] each."""

    step: int = 0
    samples: list[list[str]] = field(default_factory=list)
    rewards: list[float | None] = field(default_factory=list)
    """What each answer is worth, where the run has a reward."""


@dataclass(frozen=True)
class Completed(Event):
    """One completion sampled. (run, prompt_id, n) names it, so ingesting it twice changes nothing."""

    prompt_id: int = 0
    n: int = 0
    text: str = ""
    tokens: int = 0
    finish: str = "stop"


@dataclass(frozen=True)
class Scored(Event):
    """What a judge thinks of completions: [completion id, score] each. Ingesting it twice changes nothing."""

    scores: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Alive(Event):
    """The heartbeat: it carries progress, so that a deadlock does not look healthy."""

    step: int = 0
    since_last_step_seconds: float = 0.0
    memory_bytes: int = 0
    """The card's peak, or the process's resident memory without a card; the last beat of a worker has the peak of
    either."""


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was published, or (`final`) the finished model."""

    step: int = 0
    path: str = ""
    size_bytes: int = 0
    seconds: float = 0.0
    final: bool = False


@dataclass(frozen=True)
class Note(Event):
    """Something worth a sentence to the person."""

    text: str = ""
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class Exported(Event):
    """A file or folder of an export was written (not yet verified)."""

    target: str = ""
    path: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class Verified(Event):
    """One check of an export: figures, the mark they had to reach, and whether they did."""

    target: str = ""
    check: str = ""
    passed: bool = False
    figures: Metrics = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True)
class Finished(Event):
    """The run did what it was asked. Terminal."""

    step: int = 0
    summary: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Stopped(Event):
    """The run stopped because it was asked to; it can be resumed. Terminal."""

    step: int = 0


@dataclass(frozen=True)
class Failed(Event):
    """The run ended in an error. `kind`: an exception class's name, 'disk_full' or 'out_of_memory'. Terminal."""

    kind: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Unreadable(Event):
    """A line that no event could be made of, kept so that it can be counted and shown. Never written."""

    line: str = ""
    why: str = ""


TERMINAL = (Finished, Stopped, Failed)
_KINDS: dict[str, type[Event]] = {
    kind.__name__.lower(): kind
    for kind in (
        Queued,
        Started,
        Phase,
        Planned,
        Step,
        Evaluated,
        Watched,
        Completed,
        Scored,
        Alive,
        Saved,
        Note,
        Exported,
        Verified,
        Finished,
        Stopped,
        Failed,
    )
}

MAX_LINE_BYTES = 4_000_000
"""A longer line is not ours: the longest real event, a few samples of a long context, is under 1 MB."""


def finite(metrics: dict[str, Any]) -> Metrics:
    """Metrics with everything that is not a finite number turned into `None`."""
    return {name: _finite(value) for name, value in metrics.items()}


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def encode(event: Event) -> bytes:
    """The event as one line of JSON, newline included. Lone surrogates are escaped, so it is always UTF-8."""
    row: dict[str, Any] = {"type": type(event).__name__.lower(), **dataclasses.asdict(event)}
    for name in ("metrics", "summary", "figures"):
        if name in row:
            row[name] = finite(row[name])
    if "rewards" in row:
        row["rewards"] = [_finite(value) for value in row["rewards"]]
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row, allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Event:
    """The event on a line; `Unreadable` where there is none. Unknown fields are ignored (a newer worker's)."""
    if len(line) > MAX_LINE_BYTES:
        return _unreadable(line, f"longer than {MAX_LINE_BYTES} bytes")
    try:
        row = json.loads(line)
        kind = _KINDS[row.pop("type")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return _unreadable(line, f"{type(error).__name__}: {error}")
    known = {f.name: f for f in dataclasses.fields(kind)}
    values = {name: value for name, value in row.items() if name in known}
    wrong = [name for name, value in values.items() if not _fits(value, known[name].type)]
    if wrong:
        return _unreadable(line, f"{kind.__name__}.{wrong[0]} is not a {known[wrong[0]].type}")
    return kind(**values)


def _unreadable(line: bytes, why: str) -> Unreadable:
    return Unreadable(line=line[:200].decode("utf-8", "replace"), why=why[:200], t=0.0)


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a JSON value is of the field's annotated kind (annotations are strings here)."""
    text = str(annotation)
    if text == "Metrics":
        return isinstance(value, dict) and all(v is None or _is_number(v) for v in value.values())
    if text == "int | None":
        return value is None or _is_int(value)
    if text == "int":
        return _is_int(value)
    if text == "float":
        return _is_number(value)
    if text == "bool":
        return isinstance(value, bool)
    if text.startswith("dict"):
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    if text == "list[float | None]":
        return isinstance(value, list) and all(v is None or _is_number(v) for v in value)
    if text.startswith("list[list["):
        inner = _is_number if text == "list[list[float]]" else lambda each: isinstance(each, str)
        return isinstance(value, list) and all(isinstance(v, list) and all(map(inner, v)) for v in value)
    return isinstance(value, str)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
