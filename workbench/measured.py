"""Estimates that learn: what earlier runs on this machine needed, against what was worked out for them. No torch.

The parts of an estimate that are wrong (allocator, kernels, library buffers) are wrong by the same share for runs of
one base, method and way of tuning, so a new run's figure is scaled by the median of what theirs were off.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import events, fit
from workbench.events import Started
from workbench.fit import Estimate, Shape
from workbench.hardware import Hardware
from workbench.runs.glance import glance

if TYPE_CHECKING:
    from workbench.bases import Base
    from workbench.runs import Run

MARGIN = 0.1
"""A measured range is this share to either side: rows of other lengths move the peak, and nothing else does."""

LOOKED_AT = 8
"""The newest runs of a kind that are learnt from: older ones ran on older libraries."""

HEAD_BYTES = 64 << 10
"""Of an event log, where its `Started` is."""


@dataclass(frozen=True)
class Past:
    """A finished training run: what it was ordered to do, where it ran, and the most memory it took."""

    base: str
    """Its base's fingerprint."""
    method: str
    settings: Mapping[str, Any]
    hardware: str
    peak_bytes: int


def estimate(
    base: Shape,
    fingerprint: str,
    settings: Mapping[str, Any],
    method: str,
    hardware: Hardware,
    past: Iterable[Past],
    beside: Sequence[Shape] = (),
) -> Estimate:
    """What a run needs: by earlier runs of the same base, method and way of tuning on this machine, else worked out.

    With reward models on bases of their own (`beside`) it is always worked out: they may have been others then.
    """
    found = fit.estimate(base, settings, method, hardware, beside)
    if beside:
        return found
    alike = [
        run
        for run in past
        if (run.base, run.method, run.settings.get("how"), run.hardware)
        == (fingerprint, method, settings["how"], hardware.summary)
        and run.peak_bytes > 0
    ]
    factors = [run.peak_bytes / _middle(fit.estimate(base, run.settings, method, hardware)) for run in alike]
    return calibrated(found, factors, settings, fit.room_of(hardware)) if factors else found


def calibrated(found: Estimate, factors: Sequence[float], settings: Mapping[str, Any], room: int) -> Estimate:
    """The estimate scaled by the median of `factors` (measured peak by estimate's middle); their spread widens it."""
    factor = statistics.median(factors)
    low = min(factor * (1 - MARGIN), *factors) * _middle(found)
    high = max(factor * (1 + MARGIN), *factors) * _middle(found)
    runs = f"{len(factors)} earlier run{'s' if len(factors) > 1 else ''}"
    source = f", measured on {runs} (estimated {found.low_bytes / 2**30:.1f}-{found.high_bytes / 2**30:.1f})"
    return fit.judged(int(low), int(high), found.parts, settings, room, len(factors), source)


def _middle(found: Estimate) -> float:
    return (found.low_bytes + found.high_bytes) / 2


def past_runs(runs: Iterable[Run], base: Base, method: str, how: str) -> list[Past]:
    """The newest finished runs of a kind, with their peaks. `runs` are training runs, oldest first."""
    found: list[Past] = []
    for run in reversed(list(runs)):
        job = run.job
        alike = (job.action, job.settings.get("how"), job.base.fingerprint) == (method, how, base.fingerprint)
        if alike and run.status().state == "finished":
            log = run.paths.events
            last = glance(log, 0).alive
            found.append(Past(base.fingerprint, method, job.settings, _machine(log), last.memory_bytes if last else 0))
        if len(found) == LOOKED_AT:
            break
    return found


def _machine(log: Path) -> str:
    """What the run in an event log ran on; nothing where an older version wrote it."""
    with log.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for line in head.split(b"\n"):
        if line.startswith(b'{"type": "started"') and isinstance(event := events.decode(line), Started):
            return event.hardware
    return ""
