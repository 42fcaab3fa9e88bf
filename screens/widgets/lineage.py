"""Runs drawn as text: the tree of which model came from which, and the latest runs with their age."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from screens.active import run_title
from screens.safe import line
from screens.widgets.status import duration

if TYPE_CHECKING:
    from workbench.job import Job
    from workbench.runs.status import Status

STATE_STYLE = {
    "finished": "$success",
    "failed": "$error",
    "died": "$error",
    "running": "$accent",
    "starting": "$accent",
    "stopping": "$accent",
}
"""Colours of run states. The word and the glyph say the same."""

RECENT_ROWS = 12


def lineage(runs: Sequence[tuple[Job, Status]], base_name: str) -> Content:
    """The tree of training runs under the base, each with its method and state."""
    from workbench.runs.lineage import tree  # late: the first paint is of no run, and they are a tenth of it

    trained = [(job, status) for job, status in runs if job.kind == "train"]
    if not trained:
        return Content.styled(
            "No model trained yet.\nRuns that start from one another will be drawn as a tree here.", "$quiet"
        )
    states = {job.run: status for job, status in trained}
    base = dataclasses.replace(trained[0][0], run="", parent=None)  # the root that all of them grow from
    jobs = [dataclasses.replace(job, parent=job.parent if job.parent in states else "") for job, _ in trained]
    lines = [Content.assemble(("◆ ", "$primary"), line(base_name, "$strong"))]
    for node in tree([base, *jobs])[1:]:
        lines.append(
            Content.assemble(
                (node.branch, "$quiet"), state_glyph(states[node.job.run]), " ", line(node.job.title, "$strong")
            )
        )
    return Content("\n").join(lines)


def recent(runs: Sequence[tuple[Job, Status]], now: float) -> Content:
    """The newest runs of every kind: state, name, how long ago."""
    if not runs:
        return Content.styled("Nothing has run yet.", "$quiet")
    newest = list(reversed(runs))[:RECENT_ROWS]
    return Content("\n").join(
        Content.assemble(
            state_glyph(status),
            (f" {status.state:<9} ", STATE_STYLE.get(status.state, "$quiet")),
            _padded(line(run_title(job), "$strong"), 34),
            (f"{duration(now - job.created)} ago", "$quiet"),
        )
        for job, status in newest
    )


def _padded(content: Content, width: int) -> Content:
    content = content.truncate(width, ellipsis=True)
    return content.pad_right(width + 2 - content.cell_length)


def state_glyph(status: Status) -> Content:
    """A run's state as one coloured character."""
    return Content.styled(status.glyph, STATE_STYLE.get(status.state, "$quiet"))
